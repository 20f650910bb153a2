"""
Tests for L{sipxha.cdr.legs}.
"""

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.legs import Standing, legs_of
from sipxha.cdr.order import arranged
from tests.cdr import calls


def _legs(*events: CallStateEvent) -> list[tuple[tuple[str, str], Standing]]:
    return [(leg.tags, leg.standing) for leg in legs_of(arranged(events))]


class LegTests(SynchronousTestCase):
    """
    Tests for how far a leg came.
    """

    def test_a_request_alone_is_no_leg(self) -> None:
        """
        Nor does a challenge make one.
        """
        self.assertEqual(_legs(calls.requested(), calls.failed(407), calls.failed(401)), [])

    def test_both_sides_end_the_same_leg(self) -> None:
        """
        Tags are a pair without direction.
        """
        for end in (calls.ended(), calls.ended_by_callee()):
            self.assertEqual(_legs(calls.set_up(), end), [(("a", "b"), Standing.ENDED)])

    def test_a_refused_reinvite_leaves_the_call_open(self) -> None:
        """
        From either side, with any status that does not end the dialog.
        """
        for refusal in (
            calls.failed(488, cseq=2),
            calls.failed(487, from_tag="b", to_tag="a"),
        ):
            self.assertEqual(_legs(calls.set_up(), refusal), [(("a", "b"), Standing.OPEN)])

    def test_a_reinvite_that_finds_no_dialog_ends_the_call(self) -> None:
        """
        481 and 408 say that the other side is gone.
        """
        for status in (408, 481):
            self.assertEqual(
                _legs(calls.set_up(), calls.failed(status, cseq=2)), [(("a", "b"), Standing.LOST)]
            )

    def test_an_attempt_that_was_repeated_does_not_fail_the_leg(self) -> None:
        """
        422 to the first INVITE, 200 to the second.
        """
        self.assertEqual(
            _legs(calls.failed(422, cseq=1), calls.set_up(cseq=2)),
            [(("a", "b"), Standing.OPEN)],
        )

    def test_a_bye_in_an_early_dialog_ends_no_call(self) -> None:
        """
        The INVITE was never answered with 200.
        """
        self.assertEqual(_legs(calls.failed(487), calls.ended()), [(("a", "b"), Standing.FAILED)])


class BestLegTests(SynchronousTestCase):
    """
    Tests for which leg speaks for a forked call.
    """

    def test_ended_before_lost_before_open_before_failed(self) -> None:
        """
        However the legs are mixed.
        """
        self.assertEqual(
            _legs(
                calls.failed(603, to_tag="f"),
                calls.set_up(to_tag="o"),
                calls.set_up(to_tag="l"),
                calls.failed(481, cseq=2, to_tag="l"),
                calls.set_up(to_tag="e"),
                calls.ended(104.0, to_tag="e"),
            ),
            [
                (("a", "e"), Standing.ENDED),
                (("a", "l"), Standing.LOST),
                (("a", "o"), Standing.OPEN),
                (("a", "f"), Standing.FAILED),
            ],
        )

    def test_the_longest_of_those_that_ended(self) -> None:
        """
        Not the one that ended first, nor last.
        """
        legs = _legs(
            calls.set_up(100.0, to_tag="1"),
            calls.ended(160.0, to_tag="1"),
            calls.set_up(101.0, to_tag="2"),
            calls.ended(521.0, to_tag="2"),
            calls.set_up(500.0, to_tag="3"),
            calls.ended(522.0, to_tag="3"),
            calls.ended(900.0, to_tag="4"),
        )
        self.assertEqual([tags[0] for tags, _ in legs], ["2", "1", "3", "4"])

    def test_the_open_leg_that_was_answered_first(self) -> None:
        """
        It is the longest so far.
        """
        legs = _legs(calls.set_up(104.0, to_tag="1"), calls.set_up(103.0, to_tag="2"))
        self.assertEqual([tags[0] for tags, _ in legs], ["2", "1"])

    def test_the_front_doors_word_before_that_of_a_branch(self) -> None:
        """
        What the proxy nearest to the caller answered is what the caller heard.
        """
        legs = _legs(
            calls.requested(via_count=1, branch_id="z9hG4bK-door"),
            calls.requested(via_count=3, branch_id="z9hG4bK-inner"),
            calls.failed(603, 110.0, to_tag="i", via_count=3, branch_id="z9hG4bK-inner"),
            calls.failed(486, 105.0, to_tag="d", via_count=1, branch_id="z9hG4bK-door"),
        )
        self.assertEqual([tags[1] for tags, _ in legs], ["d", "i"])

    def test_a_branch_that_declined_for_all_before_those_cancelled_for_it(self) -> None:
        """
        603 by one phone, 487 by the others afterwards: rows of old writers.
        """
        legs = _legs(
            calls.failed(487, 106.0, to_tag="1", via_count=2, branch_id=None),
            calls.failed(603, 105.0, to_tag="2", via_count=2, branch_id=None),
            calls.failed(486, 104.0, to_tag="0", via_count=2, branch_id=None),
        )
        self.assertEqual([tags[0] for tags, _ in legs], ["2", "1", "0"])

    def test_the_last_attempt_before_earlier_ones(self) -> None:
        """
        A caller that tries again under the same Call-ID.
        """
        legs = _legs(
            calls.failed(404, 120.0, to_tag="1", cseq=1), calls.failed(486, 110.0, to_tag="2", cseq=2)
        )
        self.assertEqual([tags[0] for tags, _ in legs], ["2", "1"])
