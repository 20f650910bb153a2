"""
Tests for L{sipxha.cdr.resolve}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.record import NO_TAG, UNDECIDED, Cdr
from sipxha.cdr.resolve import Limits, resolve
from tests.cdr import calls


def _reinvited_by_callee() -> CallStateEvent:
    return calls.set_up(155.0, cseq=3, from_tag="b", to_tag="a")


class WholeCallTests(SynchronousTestCase):
    """
    Tests for calls of which everything is known.
    """

    def test_a_completed_call(self) -> None:
        """
        Each column comes from the event that knows it.
        """
        self.assertEqual(
            resolve([calls.requested(100.0, reference="r;rel=x"), calls.set_up(103.0), calls.ended(160.0)]),
            Cdr(
                call_id="call-1@10.1.1.7",
                from_tag="a",
                to_tag="b",
                caller_aor=calls.ALICE,
                callee_aor=calls.BOB,
                start_time=100.0,
                connect_time=103.0,
                end_time=160.0,
                termination="C",  # type: ignore[arg-type]
                failure_status=None,
                failure_reason=None,
                reference="r;rel=x",
                caller_contact="<sip:alice@10.1.1.7:5062>",
                callee_contact="<sip:bob@10.1.2.8:5060>",
                caller_internal=False,
                callee_route="INT",
                events=3,
                hung_up_by="caller",
                caller_transport="tcp",
                callee_transport="udp",
            ),
        )

    def test_the_callee_hangs_up(self) -> None:
        """
        Caller stays caller, although the BYE says From: Bob.
        """
        by_caller = resolve([calls.requested(), calls.set_up(), calls.ended()])
        by_callee = resolve([calls.requested(), calls.set_up(), calls.ended_by_callee()])
        self.assertEqual(by_callee, by_caller._replace(hung_up_by="callee"))

    def test_terminations(self) -> None:
        """
        R, I, C, F, A and T, each by what was seen last.
        """
        requested, set_up, ended = calls.requested(), calls.set_up(), calls.ended(cseq=3)
        for events, termination in (
            ([requested], "R"),
            ([requested, calls.failed(407)], "R"),
            ([requested, set_up], "I"),
            ([requested, set_up, calls.transferred()], "I"),
            ([requested, set_up, ended], "C"),
            ([requested, set_up, calls.transferred(), ended], "T"),
            ([requested, set_up, calls.transferred(), calls.ended_by_callee()], "T"),
            # Who could not transfer takes the call back by a re-INVITE; one of the other side says nothing.
            ([requested, set_up, calls.transferred(), calls.set_up(155.0, cseq=3), calls.ended(cseq=4)], "C"),
            ([requested, set_up, calls.transferred(), _reinvited_by_callee(), calls.ended(cseq=4)], "T"),
            ([requested, calls.failed(486)], "F"),
            ([requested, calls.failed(302)], "F"),
            ([requested, calls.failed(487)], "A"),
        ):
            with self.subTest(termination=termination):
                self.assertEqual(resolve(events).termination, termination)

    def test_a_failure_is_told_with_status_and_reason(self) -> None:
        """
        And its moment is the end of the call.
        """
        cdr = resolve([calls.requested(), calls.failed(486, 104.0, failure_reason="Busy Here")])
        self.assertEqual((cdr.failure_status, cdr.failure_reason, cdr.end_time), (486, "Busy Here", 104.0))
        self.assertIsNone(cdr.connect_time)

    def test_a_call_that_answered_a_challenge(self) -> None:
        """
        It began with its first INVITE, and who the caller is was proved by the second.
        """
        cdr = resolve(
            [
                calls.requested(100.0, cseq=1, caller_internal=False),
                calls.failed(407, 100.1, cseq=1),
                calls.requested(100.2, cseq=2, caller_internal=True, branch_id="z9hG4bK-2"),
                calls.set_up(103.0, cseq=2, branch_id="z9hG4bK-2"),
                calls.ended(160.0, cseq=3),
            ]
        )
        self.assertEqual((cdr.start_time, cdr.connect_time, cdr.termination), (100.0, 103.0, "C"))
        self.assertTrue(cdr.caller_internal)

    def test_two_phones_answered(self) -> None:
        """
        The leg that lasted is billed, not the one that was hung up at once.
        """
        cdr = resolve(
            [
                calls.requested(100.0),
                calls.set_up(103.0, to_tag="1"),
                calls.set_up(103.1, to_tag="2", contact="<sip:second@10.1.2.9>"),
                calls.ended(103.2, to_tag="1"),
                calls.ended_by_callee(523.1, from_tag="2"),
            ]
        )
        self.assertEqual((cdr.to_tag, cdr.connect_time, cdr.end_time), ("2", 103.1, 523.1))
        self.assertEqual(cdr.callee_contact, "<sip:second@10.1.2.9>")


class MissingEventTests(SynchronousTestCase):
    """
    Tests for the best record that the facts allow.
    """

    def test_without_the_request(self) -> None:
        """
        The setup names the parties; when it started nobody knows.
        """
        cdr = resolve([calls.set_up(), calls.ended_by_callee()])
        self.assertEqual((cdr.caller_aor, cdr.callee_aor, cdr.from_tag), (calls.ALICE, calls.BOB, "a"))
        self.assertEqual((cdr.start_time, cdr.connect_time, cdr.termination), (None, 103.0, "C"))

    def test_without_the_setup(self) -> None:
        """
        It ended, so it was completed; how long it took nobody knows.
        """
        cdr = resolve([calls.requested(), calls.ended()])
        self.assertEqual((cdr.start_time, cdr.connect_time, cdr.end_time), (100.0, None, 160.0))
        self.assertEqual((cdr.termination, cdr.to_tag), ("C", "b"))

    def test_only_the_end(self) -> None:
        """
        Still a call.
        """
        cdr = resolve([calls.ended()])
        self.assertEqual((cdr.termination, cdr.end_time, cdr.start_time), ("C", 160.0, None))

    def test_without_tags(self) -> None:
        """
        Columns that must not be empty hold the filler; old phones send no From tag.
        """
        cdr = resolve([calls.requested(from_tag="", to_tag="")])
        self.assertEqual((cdr.from_tag, cdr.to_tag), (NO_TAG, NO_TAG))
        cdr = resolve([calls.requested(from_tag=None), calls.set_up(from_tag=None, to_tag="b")])
        self.assertEqual((cdr.from_tag, cdr.to_tag), (NO_TAG, "b"))

    def test_empty_text_is_absent_text(self) -> None:
        """
        As old writers left it, with 0 for an absent status.
        """
        cdr = resolve(
            [
                calls.requested(contact="", reference="", caller_internal=None),
                calls.failed(0, failure_reason=""),
            ]
        )
        self.assertEqual(
            (cdr.caller_contact, cdr.reference, cdr.failure_status, cdr.failure_reason, cdr.caller_internal),
            (None,) * 5,
        )


class JudgedTests(SynchronousTestCase):
    """
    Tests for what time decides.
    """

    limits = Limits(max_call=1000.0, max_ringing=120.0)

    def test_a_call_that_rings_for_ever_timed_out(self) -> None:
        """
        Not before its time, and only as of the moment all is known to.
        """
        events = [calls.requested(100.0)]
        self.assertEqual(resolve(events, None, self.limits).termination, "R")
        self.assertEqual(resolve(events, 220.0, self.limits).termination, "R")
        cdr = resolve(events, 221.0, self.limits)
        self.assertEqual(
            (cdr.termination, cdr.failure_status, cdr.failure_reason), ("F", 408, "Request Timeout")
        )
        self.assertEqual((cdr.end_time, cdr.as_of), (None, 221.0))

    def test_a_call_longer_than_calls_last_is_unknown(self) -> None:
        """
        Its BYE was lost.
        """
        cdr = resolve([calls.requested(100.0), calls.set_up()], 1101.0, self.limits)
        self.assertEqual((cdr.termination, cdr.end_time, cdr.as_of), ("U", None, 1101.0))
        self.assertEqual(resolve([calls.set_up()], 2000.0, self.limits).termination, "U")

    def test_later_events_correct_it(self) -> None:
        """
        Facts are never judged.
        """
        cdr = resolve([calls.requested(100.0), calls.set_up(400.0)], 401.0, self.limits)
        self.assertEqual((cdr.termination, cdr.failure_status, cdr.as_of), ("I", None, None))
        cdr = resolve(
            [calls.requested(100.0), calls.set_up(400.0), calls.ended(9999.0)], 99999.0, self.limits
        )
        self.assertEqual((cdr.termination, cdr.as_of), ("C", None))


_TIMES = st.integers(0, 2000).map(lambda tenths: 100.0 + tenths / 10)
_OBSERVERS = st.sampled_from([calls.FORK, calls.AUTH, calls.FORK_2, calls.AUTH_2])
_CSEQS = st.integers(1, 3)
_CALLEES = st.sampled_from(["b", "c", "d", None])
_KINDS = {
    "requested": st.builds(
        calls.requested,
        _TIMES,
        cseq=_CSEQS,
        observer=_OBSERVERS,
        via_count=st.integers(0, 3),
        contact=st.sampled_from([None, "", "<sip:x@y>"]),
        caller_internal=st.sampled_from([None, False, True]),
    ),
    "set_up": st.builds(
        calls.set_up,
        _TIMES,
        cseq=_CSEQS,
        observer=_OBSERVERS,
        to_tag=_CALLEES,
        contact=st.sampled_from([None, "<sip:x@y>", "<sip:z@y>"]),
        callee_route=st.sampled_from([None, "", "INT"]),
    ),
    "failed": st.builds(
        calls.failed,
        st.sampled_from([0, 302, 401, 404, 407, 408, 481, 486, 487, 603]),
        _TIMES,
        cseq=_CSEQS,
        observer=_OBSERVERS,
        to_tag=_CALLEES,
    ),
    "transferred": st.builds(calls.transferred, _TIMES, cseq=_CSEQS, to_tag=_CALLEES),
    "ended": st.builds(calls.ended, _TIMES, cseq=_CSEQS, observer=_OBSERVERS, to_tag=_CALLEES),
    "ended by callee": st.builds(
        calls.ended_by_callee, _TIMES, cseq=_CSEQS, observer=_OBSERVERS, from_tag=_CALLEES
    ),
}
EVENTS = st.lists(st.one_of(*_KINDS.values()), min_size=1, max_size=9)
KEPT = (
    "start_time",
    "connect_time",
    "reference",
    "caller_contact",
    "callee_contact",
    "caller_internal",
    "callee_route",
)


class LawTests(SynchronousTestCase):
    """
    What holds for any events, however they came about.
    """

    @given(EVENTS, st.data())
    def test_order_and_duplicates_make_no_difference(
        self, events: list[CallStateEvent], chance: st.DataObject
    ) -> None:
        """
        The record is a function of the set.
        """
        again = chance.draw(st.permutations(events + chance.draw(st.lists(st.sampled_from(events)))))
        self.assertEqual(resolve(again, 150.0), resolve(events, 150.0))

    @given(EVENTS, EVENTS)
    def test_more_events_never_unset_what_was_known(
        self, events: list[CallStateEvent], more: list[CallStateEvent]
    ) -> None:
        """
        A known field changes only to another value; an end gives way to an open leg only
        when it was a failure, or the BYE turns out to be that of a leg that failed.
        """
        before, after = resolve(events), resolve(events + more)
        for field in KEPT:
            if getattr(before, field) is not None:
                self.assertIsNotNone(getattr(after, field), field)
        if before.termination not in UNDECIDED and after.termination in UNDECIDED:
            self.assertTrue(before.termination in "FA" or any(event.event_type == "F" for event in more))
            self.assertEqual(after.termination, "I")
        self.assertGreaterEqual(after.events, before.events)
        if before.events == after.events:
            self.assertEqual(before, after)

    @given(EVENTS)
    def test_a_record_fits_its_table(self, events: list[CallStateEvent]) -> None:
        """
        Columns that must not be empty are not, and a failure is told of failures only.
        """
        cdr = resolve(events, 10_000.0)
        for text in (cdr.call_id, cdr.from_tag, cdr.to_tag, cdr.caller_aor, cdr.callee_aor):
            self.assertTrue(text)
        if cdr.termination not in "FA":
            self.assertIsNone(cdr.failure_status)
            self.assertIsNone(cdr.failure_reason)
