"""
Tests for L{sipxha.sync.mesh}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.table import Registry
from sipxha.sync import effects as fx
from sipxha.sync.link import Input, State
from sipxha.sync.mesh import Mesh, Settings
from tests.support.bindings import a_row
from tests.sync.engine import ME, NOW, PEER, THIRD


class MeshTests(SynchronousTestCase):
    """
    Tests for what one link's state means for the others.
    """

    def setUp(self) -> None:
        self.mesh = Mesh(ME, [ME, PEER, THIRD], Registry(ME, 7200), Settings())
        self.mesh.now = NOW

    def test_a_node_is_no_peer_of_its_own(self) -> None:
        """
        One list serves all nodes.
        """
        self.assertEqual(list(self.mesh.links), [PEER, THIRD])

    def test_a_peer_that_is_lost_is_asked_of_those_that_are_there(self) -> None:
        """
        And one that comes is asked of those that are not.
        """
        peer, third = self.mesh.links.values()
        self.mesh.feed(peer, Input.RESET_CAME)
        self.mesh.feed(third, Input.RESET_CAME)
        self.mesh.feed(peer, Input.PUSH_FAILED, "refused")
        self.assertEqual((list(third.pulls), list(self.mesh.lost())), ([PEER], [peer]))
        self.mesh.feed(third, Input.PUSH_FAILED, "refused")
        self.mesh.feed(peer, Input.RESET_CAME)
        self.assertEqual(list(peer.pulls), [THIRD])
        changes = [effect for effect in self.mesh.take() if isinstance(effect, fx.PeerChanged)]
        self.assertEqual(changes[2], fx.PeerChanged(PEER, State.UNREACHABLE, "refused"))
        self.assertEqual(self.mesh.take(), [])

    def test_what_waits_for_the_disk_goes_on_once(self) -> None:
        """
        A link, or an answer.
        """
        link = self.mesh.links[PEER]
        link.is_waiting = True
        self.mesh.store([a_row()], fx.Answer(1, 7))
        self.mesh.store([], link)
        first, second = self.mesh.take()
        assert isinstance(first, fx.Store) and isinstance(second, fx.Store)
        self.assertEqual(first.rows, [a_row()])
        for _ in range(2):
            self.mesh.stored(first.token)
            self.mesh.stored(second.token)
        self.assertEqual((self.mesh.take(), link.is_waiting), ([fx.Answer(1, 7)], False))
