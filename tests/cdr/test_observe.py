"""
Tests for which columns a message fills (calls.md 1.1 and 1.4).
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr import observe
from sipxha.cdr.event import CallStateEvent
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to

OBSERVER = "10.1.1.50:5060"

ALICE = '"Alice O\'Brien" <sip:alice@example.com>;tag=a1'
BOB = "<sip:bob@example.com>"


def a_request(method: str = "INVITE", *more: tuple[str, str], to: str = BOB, cseq: int = 7) -> Request:
    """
    Build a request of Alice's to Bob that went through one proxy before.
    """
    return Request(
        method,
        "sip:bob@example.com",
        [
            ("via", "SIP/2.0/UDP 10.1.1.9:5060;branch=z9hG4bK-top"),
            ("via", "SIP/2.0/UDP 10.1.1.8;branch=z9hG4bK-b, SIP/2.0/TCP 10.1.1.7;branch=z9hG4bK-c"),
            ("from", ALICE),
            ("to", to),
            ("call-id", "call-1"),
            ("cseq", f"{cseq} {method}"),
            *more,
        ],
    )


def an_event(event_type: str, **columns: Any) -> CallStateEvent:
    """
    Build the event that L{a_request} makes.
    """
    return CallStateEvent(
        OBSERVER, 3, 100.5, event_type, 7, "call-1", "a1", None, ALICE, BOB,
    )._replace(**columns)  # fmt: skip


class ObserveTests(SynchronousTestCase):
    """
    Tests for the five kinds of event.
    """

    def test_R_holds_the_request_and_its_branch(self) -> None:
        """
        The topmost Via and the number of all, in however many rows.
        """
        request = a_request("INVITE", ("contact", "<sip:alice@10.1.1.9>;+x=1, <sip:second@10.1.1.9>"))
        self.assertEqual(
            observe.requested(request, OBSERVER, 3, 100.5, caller_internal=True),
            an_event(
                "R",
                contact="<sip:alice@10.1.1.9>;+x=1",
                request_uri="sip:bob@example.com",
                caller_internal=True,
                branch_id="z9hG4bK-top",
                via_count=3,
            ),
        )

    def test_R_names_the_calls_it_comes_from(self) -> None:
        """
        References as they are, and the call that it replaces as a transfer.
        """
        request = a_request(
            "INVITE", ("references", "x@y;rel=chain"), ("replaces", "other@host;to-tag=1;from-tag=2")
        )
        event = observe.requested(request, OBSERVER, 3, 100.5)
        self.assertEqual(event.reference, "x@y;rel=chain,other@host;rel=xfer")

    def test_S_holds_the_callee_s_contact_and_the_invite_s_branch(self) -> None:
        """
        From and To stay those of the request, the To with its tag.
        """
        request = a_request()
        response = response_to(request, 200, to_tag="b1", fields=[("contact", "<sip:bob@10.1.1.5>")])
        event = observe.set_up(request, response, OBSERVER, 3, 100.5)
        expected = an_event(
            "S", to_tag="b1", contact="<sip:bob@10.1.1.5>", branch_id="z9hG4bK-top", via_count=3
        )
        self.assertEqual(event, expected._replace(to_url=f"{BOB};tag=b1"))

    def test_F_holds_status_and_reason(self) -> None:
        """
        The phrase as it was sent, absent when there was none.
        """
        request = a_request()
        for phrase, reason in (("Don't \u2603", "Don't \u2603"), ("", None)):
            response = response_to(request, 486, phrase, to_tag="b1")
            event = observe.failed(request, response, OBSERVER, 3, 100.5)
            self.assertEqual(
                event[9:],
                an_event(
                    "F", failure_status=486, failure_reason=reason, branch_id="z9hG4bK-top", via_count=3
                )._replace(to_url=f"{BOB};tag=b1")[9:],
            )

    def test_E_is_seen_from_who_hung_up(self) -> None:
        """
        Nothing is turned round, and no branch is kept.
        """
        request = a_request("BYE", ("contact", "<sip:alice@10.1.1.9>"), to=f"{BOB};tag=b1")
        event = observe.ended(request, OBSERVER, 3, 100.5)
        self.assertEqual(event, an_event("E", to_tag="b1", to_url=f"{BOB};tag=b1"))

    def test_T_says_where_to_and_on_whose_behalf(self) -> None:
        """
        In the words of the REFER.
        """
        request = a_request(
            "REFER",
            ("refer-to", "<sip:carol@example.com>"),
            ("referred-by", "<sip:alice@example.com>"),
            ("contact", "<sip:alice@10.1.1.9>"),
            to=f"{BOB};tag=b1",
        )
        self.assertEqual(
            observe.transferred(request, OBSERVER, 3, 100.5),
            an_event(
                "T",
                to_tag="b1",
                to_url=f"{BOB};tag=b1",
                contact="<sip:alice@10.1.1.9>",
                refer_to="<sip:carol@example.com>",
                referred_by="<sip:alice@example.com>",
                request_uri="sip:bob@example.com",
            ),
        )

    def test_what_cannot_be_read_is_absent(self) -> None:
        """
        A callee's broken To costs its tag and not the event.
        """
        request = a_request()
        response = Response(
            480, "x", [("from", ALICE), ("to", "<<>"), ("call-id", "call-1"), ("cseq", "7 INVITE")]
        )
        event = observe.failed(request, response, OBSERVER, 3, 100.5)
        self.assertEqual((event.to_tag, event.to_url), (None, "<<>"))
