"""
Tests for L{sipxha.routing.fork}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.fork import (
    ANSWERED_ELSEWHERE,
    CANCEL_PATIENCE,
    MAX_BREADTH,
    MAX_TARGETS,
    RANG_TOO_LONG,
    SERIAL_RING,
    TIMER_C,
    CancelBranch,
    Effect,
    Forward,
    Refuse,
    ResponseContext,
    StartBranch,
    Target,
)
from sipxha.sip.message import Response
from sipxha.sip.uri import Uri

NOW = 1000.0


def answer(status: int, *contacts: str, **fields: str) -> Response:
    """
    @return: a response with these contacts.
    """
    response = Response(
        status, "Because", [(name.replace("_", "-"), value) for name, value in fields.items()]
    )
    for contact in contacts:
        response.add("contact", contact)
    return response


def context(
    method: str = "INVITE", *, recurse: bool = True, decline_ends_search: bool = True
) -> ResponseContext:
    """
    @return: a response context with its first branch, number 0, on the way.
    """
    made = ResponseContext(method, recurse=recurse, decline_ends_search=decline_ends_search)
    started = made.start([Target(Uri.parse("sip:201@example.com"))], NOW)
    assert started == [StartBranch(0, Uri.parse("sip:201@example.com"))]
    return made


def started(effects: list[Effect]) -> list[str]:
    """
    @return: the targets of the branches that C{effects} start.
    """
    return [str(effect.uri) for effect in effects if isinstance(effect, StartBranch)]


def forwarded(effects: list[Effect]) -> list[int]:
    """
    @return: the statuses that C{effects} send upstream.
    """
    return [effect.response.status for effect in effects if isinstance(effect, Forward)]


def cancels(effects: list[Effect]) -> list[int]:
    """
    @return: the branches that C{effects} cancel.
    """
    return [effect.branch for effect in effects if isinstance(effect, CancelBranch)]


class ForwardingTests(SynchronousTestCase):
    """
    What goes upstream of one branch.
    """

    def test_P20_provisionals_go_on_and_100_does_not(self) -> None:
        """
        180 is forwarded at once, 100 never.
        """
        tree = context()
        self.assertEqual(forwarded(tree.response_received(0, answer(100), NOW)), [])
        self.assertEqual(forwarded(tree.response_received(0, answer(180), NOW)), [180])

    def test_a_final_response_ends_the_request(self) -> None:
        """
        The only branch's failure is the answer.
        """
        tree = context()
        self.assertEqual(forwarded(tree.response_received(0, answer(486), NOW)), [486])
        self.assertTrue(tree.is_over)

    def test_P20_a_late_2xx_goes_on(self) -> None:
        """
        A second 2xx of an INVITE is forwarded although one was already.
        """
        tree = context()
        tree.response_received(0, answer(200), NOW)
        self.assertEqual(forwarded(tree.response_received(0, answer(200), NOW)), [200])

    def test_a_second_final_of_another_method_does_not(self) -> None:
        """
        Only INVITE has several final answers.
        """
        tree = context("OPTIONS")
        tree.response_received(0, answer(200), NOW)
        self.assertEqual(tree.response_received(0, answer(200), NOW), [])


class RecursionTests(SynchronousTestCase):
    """
    The contacts of a 3xx become targets.
    """

    def test_P33_equal_q_is_parallel_and_lower_q_waits(self) -> None:
        """
        Two contacts of q 1 ring together; that of q 0.5 when both failed.
        """
        tree = context()
        effects = tree.response_received(
            0, answer(302, "<sip:a@h>", "<sip:b@h>;q=1.0", "<sip:c@h>;q=0.5"), NOW
        )
        self.assertEqual(started(effects), ["sip:a@h", "sip:b@h"])
        self.assertEqual(tree.response_received(1, answer(486), NOW), [])
        self.assertEqual(started(tree.response_received(2, answer(480), NOW)), ["sip:c@h"])
        self.assertEqual(forwarded(tree.response_received(3, answer(200), NOW)), [200])

    def test_P11_P27_each_target_is_tried_once(self) -> None:
        """
        A contact that was tried already is not tried again, so that two
        aliases of each other end.
        """
        tree = context()
        self.assertEqual(
            started(tree.response_received(0, answer(302, "<sip:202@example.com>"), NOW)),
            ["sip:202@example.com"],
        )
        effects = tree.response_received(1, answer(302, "<sip:201@EXAMPLE.com>"), NOW)
        self.assertEqual(effects, [Refuse(482)])

    def test_P27_a_circle_beside_a_busy_phone_is_no_answer(self) -> None:
        """
        What another branch said is worth more.
        """
        tree = context()
        tree.response_received(0, answer(302, "<sip:202@example.com>", "<sip:203@example.com>"), NOW)
        tree.response_received(1, answer(302, "<sip:201@example.com>"), NOW)
        effects = tree.response_received(2, answer(486), NOW)
        self.assertEqual(forwarded(effects), [486])

    FLOWS = (
        '<sip:a@h;ob>;+sip.instance="<urn:uuid:1>";reg-id=1',
        '<sip:b@h;ob>;+sip.instance="<urn:uuid:1>";reg-id=2',
        '<sip:c@h;ob>;+sip.instance="<urn:uuid:1>";reg-id=3;q=0.5',
        '<sip:d@h;ob>;+sip.instance="<urn:uuid:2>";reg-id=1',
        '<sip:e@h>;+sip.instance="<urn:uuid:1>"',
    )
    """Three flows to one phone, one to another, and a contact that is no flow."""

    def test_O06_a_phone_is_tried_over_one_flow_at_a_time(self) -> None:
        """
        After 430 and 408 over the next one, in the order of q; another phone
        rings meanwhile.
        """
        tree = context()
        effects = tree.response_received(0, answer(302, *self.FLOWS), NOW)
        self.assertEqual(started(effects), ["sip:a@h;ob", "sip:d@h;ob", "sip:e@h"])
        self.assertEqual(started(tree.response_received(1, answer(430), NOW)), ["sip:b@h;ob"])
        self.assertEqual(started(tree.response_received(4, answer(408), NOW)), ["sip:c@h;ob"])
        self.assertEqual(forwarded(tree.response_received(5, answer(200), NOW)), [200])

    def test_O06_whatever_else_the_phone_says_is_its_answer(self) -> None:
        """
        It was reached; and what was cancelled goes nowhere else.
        """
        tree = context()
        tree.response_received(0, answer(302, *self.FLOWS[:3]), NOW)
        self.assertEqual(forwarded(tree.response_received(1, answer(486), NOW)), [486])
        tree = context()
        tree.response_received(0, answer(302, *self.FLOWS[:3]), NOW)
        tree.cancelled(NOW)
        self.assertEqual(started(tree.response_received(1, answer(408), NOW)), [])

    def test_O06_flows_that_are_gone_say_less_than_any_phone(self) -> None:
        """
        430 goes up where there is nothing else.
        """
        tree = context()
        tree.response_received(0, answer(302, self.FLOWS[0], "<sip:x@h>"), NOW)
        tree.response_received(1, answer(430), NOW)
        self.assertEqual(forwarded(tree.response_received(2, answer(480), NOW)), [480])

    def test_contacts_beyond_the_limit_are_not_tried(self) -> None:
        """
        One request has no more than L{MAX_TARGETS} targets.
        """
        tree = context()
        effects = tree.response_received(0, answer(302, *(f"<sip:{n}@h>" for n in range(30))), NOW)
        self.assertEqual(len(started(effects)), MAX_TARGETS - 1)

    def test_without_recursion_a_3xx_goes_upstream(self) -> None:
        """
        The authproxy leaves redirection to others.
        """
        tree = context(recurse=False)
        self.assertEqual(forwarded(tree.response_received(0, answer(302, "<sip:a@h>"), NOW)), [302])

    def test_a_redirected_branch_leaves_its_siblings_ringing(self) -> None:
        """
        The contacts of one branch start at once, those of lower q of another
        3xx still wait.
        """
        tree = context()
        tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>", "<sip:low@h>;q=0.1"), NOW)
        effects = tree.response_received(1, answer(302, "<sip:c@h>;q=0.7"), NOW)
        self.assertEqual(started(effects), ["sip:c@h"])

    def test_a_q_that_is_none_counts_as_one(self) -> None:
        """
        q=nan, q=7 and q=x do not disturb the order.
        """
        tree = context()
        effects = tree.response_received(
            0, answer(302, "<sip:a@h>;q=nan", "<sip:b@h>;q=7", "<sip:c@h>;q=x"), NOW
        )
        self.assertEqual(started(effects), ["sip:a@h", "sip:b@h", "sip:c@h"])


class ForkTests(SynchronousTestCase):
    """
    Several branches and one answer.
    """

    def fork(self, contacts: int = 2, *, decline_ends_search: bool = True) -> ResponseContext:
        """
        @return: a context whose branches 1 to C{contacts} are ringing.
        """
        tree = context(decline_ends_search=decline_ends_search)
        tree.response_received(0, answer(302, *(f"<sip:{n}@h>" for n in range(contacts))), NOW)
        for branch in range(1, contacts + 1):
            tree.response_received(branch, answer(180), NOW)
        return tree

    def test_P28_an_answer_cancels_the_other_branches(self) -> None:
        """
        The 200 goes up, the others are cancelled, and their 487 is swallowed.
        """
        tree = self.fork(3)
        effects = tree.response_received(2, answer(200), NOW)
        self.assertEqual((forwarded(effects), cancels(effects)), ([200], [1, 3]))
        self.assertFalse(tree.is_over)
        self.assertEqual(tree.response_received(1, answer(487), NOW), [])
        self.assertEqual(tree.response_received(3, answer(487), NOW), [])
        self.assertTrue(tree.is_over)

    def test_P20_both_answers_go_on(self) -> None:
        """
        A 200 that crossed the CANCEL is forwarded too.
        """
        tree = self.fork(2)
        tree.response_received(1, answer(200), NOW)
        self.assertEqual(forwarded(tree.response_received(2, answer(200), NOW)), [200])

    def test_P21_a_6xx_cancels_and_wins(self) -> None:
        """
        603 ends the search, and goes up when all is over.
        """
        tree = self.fork(2)
        effects = tree.response_received(1, answer(603), NOW)
        self.assertEqual((forwarded(effects), cancels(effects)), ([], [2]))
        self.assertEqual(forwarded(tree.response_received(2, answer(487), NOW)), [603])

    def test_a_6xx_can_be_a_failure_like_others(self) -> None:
        """
        As sipX had it, a declining phone does not stop the voicemail.
        """
        tree = self.fork(2, decline_ends_search=False)
        self.assertEqual(tree.response_received(1, answer(603), NOW), [])
        self.assertEqual(forwarded(tree.response_received(2, answer(200), NOW)), [200])

    def test_P22_the_best_response_is_chosen(self) -> None:
        """
        Lowest class first; in 4xx those that say how to go on; 503 last.
        """
        for statuses, best in (
            ((404, 486), 404),
            ((404, 407), 407),
            ((500, 486), 486),
            ((503, 500), 500),
            ((503, 408), 408),
            ((408, 486), 486),
            ((487, 480), 480),
            ((302, 404), 302),
        ):
            for first, second in (statuses, statuses[::-1]):
                tree = self.fork(2)
                self.assertEqual(tree.response_received(1, answer(first), NOW), [])
                self.assertEqual(forwarded(tree.response_received(2, answer(second), NOW)), [best])

    def test_P24_all_challenges_go_along(self) -> None:
        """
        The chosen 407 brings the challenge of the other branch.
        """
        tree = self.fork(2)
        other = answer(401, www_authenticate='Digest realm="b", nonce="2"')
        tree.response_received(1, answer(407, proxy_authenticate='Digest realm="a", nonce="1"'), NOW)
        (effect,) = tree.response_received(2, other, NOW)
        assert isinstance(effect, Forward)
        self.assertEqual({effect.response.status, *(r.status for r in effect.challenges)}, {401, 407})


class CancelTests(SynchronousTestCase):
    """
    The caller gives up, or the callee never answers.
    """

    def test_P29_cancel_withdraws_every_branch(self) -> None:
        """
        The INVITE is answered 487 when its branches are.
        """
        tree = context()
        self.assertEqual(cancels(tree.cancelled(NOW)), [0])
        self.assertEqual(forwarded(tree.response_received(0, answer(487), NOW)), [487])

    def test_a_redirection_after_the_cancel_is_not_followed(self) -> None:
        """
        A 302 that comes late must not make a phone ring, and is no answer for
        somebody who gave up.
        """
        tree = context()
        tree.cancelled(NOW)
        self.assertEqual(tree.response_received(0, answer(302, "<sip:a@h>"), NOW), [Refuse(487)])

    def test_cancel_stops_the_serial_search(self) -> None:
        """
        The next group does not start once the caller gave up.
        """
        tree = context()
        tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>;q=0.1"), NOW)
        tree.cancelled(NOW)
        effects = tree.response_received(1, answer(487), NOW)
        self.assertEqual((started(effects), forwarded(effects)), ([], [487]))

    def test_who_gave_up_hears_that_whatever_was_tried_before(self) -> None:
        """
        The first phone was out of reach, or busy; the caller cancelled the second.
        """
        for before in (408, 404, 486):
            tree = context()
            tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>;q=0.1"), NOW)
            tree.response_received(1, answer(before), NOW)
            tree.cancelled(NOW)
            self.assertEqual(forwarded(tree.response_received(2, answer(487), NOW)), [487])

    def test_a_2xx_that_crosses_the_cancel_goes_up(self) -> None:
        """
        The phone answered before it heard of the CANCEL.
        """
        tree = context()
        tree.cancelled(NOW)
        self.assertEqual(forwarded(tree.response_received(0, answer(200), NOW)), [200])

    def test_a_cancelled_branch_that_stays_silent_ends(self) -> None:
        """
        64 * T1 after the CANCEL the branch counts as ended (9.1).
        """
        tree = context()
        tree.cancelled(NOW)
        self.assertEqual(tree.next_deadline(), NOW + CANCEL_PATIENCE)
        self.assertEqual(tree.deadline_passed(NOW + CANCEL_PATIENCE), [Refuse(487)])
        self.assertTrue(tree.is_over)

    def test_other_methods_are_never_cancelled(self) -> None:
        """
        CANCEL exists for INVITE only.
        """
        tree = context("MESSAGE")
        self.assertEqual(cancels(tree.cancelled(NOW)), [])

    def test_P18_timer_c_is_restarted_by_provisionals(self) -> None:
        """
        A branch that rings and says so may ring on.
        """
        tree = context()
        self.assertEqual(tree.next_deadline(), NOW + TIMER_C)
        tree.response_received(0, answer(180), NOW + 100)
        self.assertEqual(tree.next_deadline(), NOW + 100 + TIMER_C)
        self.assertEqual(tree.deadline_passed(NOW + 100), [])
        self.assertEqual(cancels(tree.deadline_passed(NOW + 100 + TIMER_C)), [0])

    def test_P23_silence_everywhere_is_408(self) -> None:
        """
        Timer C and no answer to the CANCEL: the proxy answers itself.
        """
        tree = context()
        tree.deadline_passed(NOW + TIMER_C)
        self.assertEqual(tree.deadline_passed(NOW + TIMER_C + CANCEL_PATIENCE), [Refuse(408)])

    def test_nobody_is_told_of_a_cancel_that_is_our_own(self) -> None:
        """
        A phone that rang too long says 487, for us; the caller has cancelled
        nothing, and hears 408.
        """
        tree = context()
        tree.response_received(0, answer(180), NOW)
        (effect,) = tree.deadline_passed(NOW + TIMER_C)
        self.assertEqual(effect, CancelBranch(0, RANG_TOO_LONG))
        self.assertEqual(tree.response_received(0, answer(487), NOW), [Refuse(408)])

    def test_a_cancel_tells_its_reason(self) -> None:
        """
        That of the caller, or that somebody else has answered (RFC 3326).
        """
        reason = 'Q.850;cause=16;text="Terminated"'
        self.assertEqual(context().cancelled(NOW, reason), [CancelBranch(0, reason)])
        tree = context()
        tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>"), NOW)
        self.assertIn(CancelBranch(2, ANSWERED_ELSEWHERE), tree.response_received(1, answer(200), NOW))
        tree = context()
        tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>"), NOW)
        self.assertEqual(tree.response_received(1, answer(603), NOW), [CancelBranch(2, "SIP;cause=603")])


class RingTests(SynchronousTestCase):
    """
    How long a target rings before the next has its turn.
    """

    def ringing(self, *contacts: str) -> ResponseContext:
        """
        @return: a context whose branch 1 rings.
        """
        tree = context()
        tree.response_received(0, answer(302, *contacts), NOW)
        tree.response_received(1, answer(180), NOW)
        return tree

    def test_P33_whoever_is_followed_by_others_rings_for_a_while(self) -> None:
        """
        Then it is the voicemail's turn, however often the phone says that it rings.
        """
        tree = self.ringing("<sip:a@h>", "<sip:voicemail@h>;q=0.1")
        tree.response_received(1, answer(180), NOW + 10)
        self.assertEqual(tree.next_deadline(), NOW + SERIAL_RING)
        self.assertEqual(cancels(tree.deadline_passed(NOW + SERIAL_RING)), [1])
        later = NOW + SERIAL_RING + 1
        self.assertEqual(started(tree.response_received(1, answer(487), later)), ["sip:voicemail@h"])
        self.assertEqual(tree.next_deadline(), later + TIMER_C)

    def test_P33_a_contact_says_how_long_it_rings(self) -> None:
        """
        By C{?expires=}, alone or before others; what is no number says nothing.
        """
        self.assertEqual(self.ringing("<sip:a@h?expires=45>", "<sip:b@h>;q=0.1").next_deadline(), NOW + 45)
        self.assertEqual(self.ringing("<sip:a@h?Route=x&Expires=30>").next_deadline(), NOW + 30)
        self.assertEqual(self.ringing("<sip:a@h?expires=soon>").next_deadline(), NOW + TIMER_C)
        self.assertEqual(self.ringing("<sip:a@h?expires=4000>").next_deadline(), NOW + TIMER_C)

    def test_P33_early_media_is_not_cut_off(self) -> None:
        """
        Who hears an announcement is not led elsewhere in the middle of it.
        """
        tree = self.ringing("<sip:a@h>", "<sip:voicemail@h>;q=0.1")
        progress = answer(183)
        progress.body = b"v=0"
        tree.response_received(1, progress, NOW + 5)
        self.assertEqual(tree.next_deadline(), NOW + 5 + TIMER_C)


class BreadthTests(SynchronousTestCase):
    """
    How many branches may be alive at once (RFC 5393 section 5).
    """

    def breadths(self, effects: list[Effect]) -> list[int]:
        """
        @return: what each branch may become.
        """
        return [effect.breadth for effect in effects if isinstance(effect, StartBranch)]

    def test_LA2_the_breadth_is_split_among_the_branches(self) -> None:
        """
        They have no more of it than the request had, and none is lost.
        """
        tree = context()
        contacts = [f"<sip:{n}@h>" for n in range(7)]
        effects = tree.response_received(0, answer(302, *contacts), NOW)
        self.assertEqual(sum(self.breadths(effects)), MAX_BREADTH)
        self.assertEqual(set(self.breadths(effects)), {8, 9})

    def test_LA2_what_a_branch_had_is_there_for_others_when_it_ended(self) -> None:
        """
        It is parted among the contacts that it was answered with.
        """
        tree = context()
        tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>", "<sip:c@h>;q=0.1"), NOW)
        effects = tree.response_received(1, answer(302, "<sip:d@h>", "<sip:e@h>"), NOW)
        self.assertEqual(self.breadths(effects), [15, 15])
        for branch in (3, 4):
            tree.response_received(branch, answer(486), NOW)
        self.assertEqual(self.breadths(tree.response_received(2, answer(486), NOW)), [MAX_BREADTH])

    def test_LA2_without_breadth_the_search_is_serial(self) -> None:
        """
        Two at a time; the third when both failed.
        """
        tree = ResponseContext("INVITE", recurse=True, breadth=2)
        tree.start([Target(Uri.parse("sip:201@example.com"))], NOW)
        effects = tree.response_received(0, answer(302, "<sip:a@h>", "<sip:b@h>", "<sip:c@h>"), NOW)
        self.assertEqual((started(effects), self.breadths(effects)), (["sip:a@h", "sip:b@h"], [1, 1]))
        self.assertEqual(tree.response_received(1, answer(486), NOW), [])
        effects = tree.response_received(2, answer(486), NOW)
        self.assertEqual((started(effects), self.breadths(effects)), (["sip:c@h"], [2]))


class GatewayTests(SynchronousTestCase):
    """
    Several ways out of the house.
    """

    def tree(self, *contacts: str) -> tuple[ResponseContext, list[str]]:
        """
        @return: a context whose first target led to C{contacts}, and what was started.
        """
        tree = ResponseContext("INVITE", recurse=True, is_gateway=lambda uri: uri.host.startswith("gw"))
        tree.start([Target(Uri.parse("sip:9123@example.com"))], NOW)
        return tree, started(tree.response_received(0, answer(302, *contacts), NOW))

    def test_one_is_tried_after_the_other_while_they_fail(self) -> None:
        """
        A phone that is wanted as much rings at once; who is in reach rings
        without anybody waiting for it to end.
        """
        tree, first = self.tree("<sip:1@gw1>", "<sip:a@phone>", "<sip:1@gw2>", "<sip:1@gw3>")
        self.assertEqual(first, ["sip:1@gw1", "sip:a@phone"])
        self.assertEqual(tree.next_deadline(), NOW + TIMER_C)
        self.assertEqual(started(tree.response_received(1, answer(500), NOW)), ["sip:1@gw2"])
        self.assertEqual(started(tree.response_received(3, answer(408), NOW)), ["sip:1@gw3"])
        self.assertEqual(forwarded(tree.response_received(4, answer(200), NOW)), [200])

    def test_what_one_says_of_the_callee_is_the_answer(self) -> None:
        """
        He is busy by any way; but what is wanted less is tried then, as ever.
        """
        for status in (404, 480, 486):
            tree, _ = self.tree("<sip:1@gw1>", "<sip:1@gw2>", "<sip:1@gw3>;q=0.1")
            self.assertEqual(started(tree.response_received(1, answer(status), NOW)), ["sip:1@gw3"])
            self.assertEqual(forwarded(tree.response_received(2, answer(503), NOW)), [status])

    def test_who_rang_for_too_long_is_rung_by_no_other(self) -> None:
        """
        The gateway was in reach; nobody picked up.
        """
        tree, _ = self.tree("<sip:1@gw1>", "<sip:1@gw2>")
        tree.response_received(1, answer(180), NOW)
        self.assertEqual(cancels(tree.deadline_passed(NOW + TIMER_C)), [1])
        effects = tree.response_received(1, answer(408), NOW + TIMER_C)
        self.assertEqual((started(effects), forwarded(effects)), ([], [408]))

    def test_who_gave_up_is_tried_by_no_other(self) -> None:
        """
        Whatever the first one says to its CANCEL.
        """
        tree, _ = self.tree("<sip:1@gw1>", "<sip:1@gw2>")
        tree.cancelled(NOW)
        effects = tree.response_received(1, answer(503), NOW)
        self.assertEqual((started(effects), forwarded(effects)), ([], [503]))

    def test_an_emergency_tries_them_all(self) -> None:
        """
        Also after one that is busy.
        """
        tree = ResponseContext("INVITE", recurse=True, in_turn=True, is_gateway=lambda uri: True)
        tree.start([Target(Uri.parse("sip:112@example.com"))], NOW)
        tree.response_received(0, answer(302, "<sip:112@gw1>", "<sip:112@gw2>"), NOW)
        self.assertEqual(started(tree.response_received(1, answer(486), NOW)), ["sip:112@gw2"])


class InTurnTests(SynchronousTestCase):
    """
    An emergency call, which somebody must take.
    """

    def test_every_target_is_tried_whatever_the_others_say(self) -> None:
        """
        One after the other, in the order of their q and then as they came;
        none is left because it rings for long, and a 6xx ends nothing.
        """
        tree = ResponseContext("INVITE", recurse=True, in_turn=True)
        tree.start([Target(Uri.parse("sip:112@example.com"))], NOW)
        contacts = ("<sip:112@gw3>;q=0.5", "<sip:112@gw1>", "<sip:112@gw2>")
        effects = tree.response_received(0, answer(302, *contacts), NOW)
        self.assertEqual(started(effects), ["sip:112@gw1"])
        tree.response_received(1, answer(180), NOW)
        self.assertEqual(tree.next_deadline(), NOW + TIMER_C)
        self.assertEqual(started(tree.response_received(1, answer(603), NOW)), ["sip:112@gw2"])
        self.assertEqual(started(tree.response_received(2, answer(408), NOW)), ["sip:112@gw3"])
        self.assertEqual(forwarded(tree.response_received(3, answer(200), NOW)), [200])

    def test_a_gateway_that_says_nothing_is_left_soon(self) -> None:
        """
        What it says later still goes up; with a sign of life it may ring.
        """
        tree = ResponseContext("INVITE", recurse=False, in_turn=True, patience=4.0)
        tree.start([Target(Uri.parse("sip:112@gw1"))], NOW)
        self.assertEqual(tree.next_deadline(), NOW + 4)
        self.assertEqual(tree.deadline_passed(NOW + 4), [CancelBranch(0, RANG_TOO_LONG), Refuse(408)])
        self.assertTrue(tree.is_over)
        self.assertEqual(forwarded(tree.response_received(0, answer(200), NOW + 5)), [200])
        tree = ResponseContext("INVITE", recurse=False, in_turn=True, patience=4.0)
        tree.start([Target(Uri.parse("sip:112@gw1"))], NOW)
        self.assertTrue(tree.awaits_life)
        tree.heard(0, NOW + 1)
        self.assertEqual(tree.next_deadline(), NOW + 1 + TIMER_C)


class EveryOrderTests(SynchronousTestCase):
    """
    Laws that hold whatever the branches answer, in whatever order.
    """

    @given(
        st.lists(st.sampled_from([180, 200, 302, 404, 407, 486, 487, 503, 603]), max_size=30),
        st.lists(st.integers(0, 20), min_size=30, max_size=30),
        st.integers(0, 30),
    )
    def test_one_answer_at_most_and_none_is_owed(
        self, statuses: list[int], picks: list[int], cancel_at: int
    ) -> None:
        """
        At most one non-2xx final goes upstream; once every branch ended, one
        final did; no branch is answered before it was started.
        """
        tree = context()
        open_branches = [0]
        finals: list[int] = []
        contacts = iter(range(1000))

        def take(effects: list[Effect]) -> None:
            for effect in effects:
                if isinstance(effect, StartBranch):
                    open_branches.append(effect.branch)
                elif isinstance(effect, Forward) and effect.response.status >= 200:
                    finals.append(effect.response.status)
                elif isinstance(effect, Refuse):
                    finals.append(effect.status)

        for step, (status, pick) in enumerate(zip(statuses, picks, strict=False)):
            if step == cancel_at:
                take(tree.cancelled(NOW))
            if not open_branches:
                break
            branch = open_branches[pick % len(open_branches)]
            if status >= 200:
                open_branches.remove(branch)
            targets = [f"<sip:{next(contacts)}@h>;q=0.{pick % 10}"] if status == 302 else []
            take(tree.response_received(branch, answer(status, *targets), NOW))
        while open_branches:
            take(tree.response_received(open_branches.pop(), answer(486), NOW))
        self.assertTrue(tree.is_over)
        self.assertLessEqual(len([status for status in finals if status >= 300]), 1)
        self.assertGreaterEqual(len(finals), 1)
