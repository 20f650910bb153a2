"""
Tests for L{sipxha.sync.numbering}.
"""

from __future__ import annotations

from sipxha.sync import effects as fx
from sipxha.sync.numbers import above
from sipxha.sync.wire import I8
from tests.sync.engine import ME, PEER, PULL, RESET, STEP, EngineCase


class NumberTests(EngineCase):
    """
    Tests for a clock that was set back (design 5.1).
    """

    def test_a_peer_that_holds_more_raises_our_numbers(self) -> None:
        """
        Own rows of this life move above, and go out again.
        """
        self.operating(PEER)
        row = self.register()
        self.answer(PEER, I8(row.update_number))
        far = STEP + (600 << 32)
        self.receive(RESET, PEER, I8(far))
        self.assertEqual(self.only(fx.NumberRaised).number, far)
        self.assertEqual([each.update_number for each in self.only(fx.Store).rows], [above(far) + 1])
        self.assertEqual(self.asked(PEER), (PULL, [ME, 0]))
        self.answer(PEER, [])
        self.assertEqual(self.asked(PEER)[1], [far, self.pushed(row._replace(update_number=above(far) + 1))])
