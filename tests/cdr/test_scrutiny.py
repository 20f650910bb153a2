"""
Tests for L{sipxha.cdr.scrutiny}.
"""

from math import inf, nan

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.scrutiny import fault_of
from tests.cdr import calls


class FaultTests(SynchronousTestCase):
    """
    Tests for what makes an event unusable.
    """

    def test_events_of_our_proxies_are_sound(self) -> None:
        """
        So are those of old ones, which lack much.
        """
        for event in (
            calls.requested(),
            calls.set_up(),
            calls.failed(),
            calls.transferred(),
            calls.ended(),
            calls.requested(from_tag="", to_tag="", from_url="", to_url="", contact="", via_count=0),
        ):
            self.assertIsNone(fault_of(event))

    def test_each_fault_is_named(self) -> None:
        """
        In words that lead to the column.
        """
        for event, column in (
            (calls.ended()._replace(event_type="X"), "event_type"),
            (calls.ended(call_id=""), "call_id"),
            (calls.ended(call_id="\u20ac" * 667), "call_id"),
            (calls.ended()._replace(event_time=inf), "event_time"),
            (calls.ended()._replace(event_time=nan), "event_time"),
            (calls.ended(cseq=-1), "cseq"),
        ):
            self.assertIn(column, fault_of(event) or "")
