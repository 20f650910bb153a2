"""
Tests for L{sipxha.config.limits}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.limits import ConnectionLimits


class ConnectionLimitsTests(SynchronousTestCase):
    """
    Tests for L{ConnectionLimits}.
    """

    def test_the_defaults_are_those_of_the_manual(self) -> None:
        """
        As docs/operations.md has them.
        """
        self.assertEqual(
            ConnectionLimits(), ConnectionLimits(64, 5.0, 5.0, 10.0, 120.0, 7200.0, 150.0, 5.0, 1024 * 1024)
        )

    def test_nobody_is_cut_off_in_the_middle_of_a_transaction(self) -> None:
        """
        A request that is not an INVITE has its answer within 32 seconds (RFC
        3261 section 17.1.2.2); only INVITEs must hold their connection.
        """
        self.assertGreater(ConnectionLimits().idle_time, 32)
