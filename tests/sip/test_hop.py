"""
Tests for L{sipxha.sip.hop}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.hop import Flow, Hop


class HopTests(SynchronousTestCase):
    """
    Tests for L{Hop} and L{Flow}.
    """

    def test_equal_places_are_one_key(self) -> None:
        """
        Two connections to one place are two flows.
        """
        self.assertEqual(len({Hop("udp", "192.0.2.1", 5060), Hop("udp", "192.0.2.1", 5060)}), 1)
        flow = Flow("tcp", "192.0.2.1", 5060, "192.0.2.2", 5060, 1)
        self.assertNotEqual(flow, flow._replace(connection=2))
