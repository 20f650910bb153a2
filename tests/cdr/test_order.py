"""
Tests for L{sipxha.cdr.order}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.order import Skew, arranged, skews
from tests.cdr import calls


class OrderTests(SynchronousTestCase):
    """
    Tests for the order of cause and effect.
    """

    def assert_order(self, *events: CallStateEvent) -> None:
        self.assertEqual(arranged(reversed(events)), list(events))
        self.assertEqual(arranged(events + events), list(events))

    def test_a_clock_that_is_behind_changes_nothing(self) -> None:
        """
        The setup follows its request although its host says that it came first.
        """
        self.assert_order(calls.requested(100.0), calls.set_up(60.0), calls.ended(70.0))

    def test_cseq_decides_within_a_direction(self) -> None:
        """
        A re-INVITE answered after a REFER was sent after it, whatever the clock says.
        """
        self.assert_order(
            calls.requested(100.0),
            calls.set_up(103.0),
            calls.transferred(150.0, cseq=2),
            calls.set_up(140.0, cseq=3, observer=calls.AUTH_2),
            calls.ended(130.0, cseq=4, observer=calls.AUTH_2),
        )

    def test_the_callees_cseq_is_its_own(self) -> None:
        """
        A BYE of the callee with CSeq 1 ends the call that was set up with CSeq 20.
        """
        self.assert_order(
            calls.requested(100.0, cseq=20),
            calls.set_up(103.0, cseq=20),
            calls.ended_by_callee(90.0, cseq=1),
        )

    def test_the_request_with_fewer_vias_came_first(self) -> None:
        """
        A spiral passes the front door first, an answer passes it last.
        """
        self.assert_order(
            calls.requested(100.0, via_count=1),
            calls.requested(90.0, via_count=4, observer=calls.FORK_2),
            calls.failed(486, 80.0, via_count=4, observer=calls.FORK_2),
            calls.failed(486, 70.0, via_count=1),
        )

    def test_time_is_last(self) -> None:
        """
        Both sides hang up at once.
        """
        self.assert_order(
            calls.requested(), calls.set_up(), calls.ended_by_callee(160.0), calls.ended(160.5, cseq=2)
        )

    @given(st.permutations([calls.ended(), calls.ended(failure_reason="x"), calls.ended(failure_reason="y")]))
    def test_events_that_differ_in_little_have_an_order_too(self, events: list[CallStateEvent]) -> None:
        """
        Even those that no observer can have written.
        """
        self.assertEqual(arranged(events), arranged(events[::-1]))
        self.assertEqual(len(arranged(events)), 3)


class SkewTests(SynchronousTestCase):
    """
    Tests for what the order tells about clocks.
    """

    def test_a_setup_before_its_request_proves_clocks_wrong(self) -> None:
        """
        By at least the difference.
        """
        late = calls.set_up(63.0, observer=calls.AUTH_2)
        found = skews(arranged([calls.requested(100.0), late]))
        self.assertEqual(found, [Skew(calls.FORK, calls.AUTH_2, 37.0)])

    def test_an_end_before_its_setup_proves_clocks_wrong(self) -> None:
        """
        Also when the request is not known.
        """
        found = skews(arranged([calls.set_up(103.0), calls.ended(93.0, observer=calls.AUTH_2)]))
        self.assertEqual(found, [Skew(calls.AUTH, calls.AUTH_2, 10.0)])

    def test_a_call_in_order_proves_nothing(self) -> None:
        """
        Nor do two events of one observer, nor those of different legs.
        """
        self.assertEqual(skews(arranged([calls.requested(), calls.set_up(), calls.ended()])), [])
        self.assertEqual(
            skews(arranged([calls.requested(100.0, observer=calls.AUTH), calls.set_up(90.0)])), []
        )
        other_leg = calls.ended(90.0, to_tag="c", observer=calls.AUTH_2)
        self.assertEqual(skews(arranged([calls.set_up(103.0), other_leg])), [])
