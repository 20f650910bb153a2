"""
Tests for L{sipxha.routing.route_state}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing.route_state import (
    CALLER_PARAMETER,
    PARAMETER,
    CallerNames,
    is_admitted,
    names_of,
    sign,
    sign_names,
)
from sipxha.sip.message import Request
from sipxha.sip.uri import Uri

SECRET = b"s" * 32


def request(from_tag: str, to_tag: str, call_id: str = "c@h") -> Request:
    """
    @return: a request inside a dialog.
    """
    return Request(
        "BYE",
        "sip:201@10.1.1.9",
        [("from", f"<sip:a@h>;tag={from_tag}"), ("to", f"<sip:b@h>;tag={to_tag}"), ("call-id", call_id)],
    )


def route(state: str) -> Uri:
    """
    @return: a Record-Route of ours with this state.
    """
    return Uri.parse(f"sip:10.1.1.50:5080;lr;{PARAMETER}={state}")


class RouteStateTests(SynchronousTestCase):
    """
    What the signature lets pass.
    """

    def test_S13_both_sides_of_the_dialog_pass(self) -> None:
        """
        The caller's tag is in From or, when the callee sends, in To.
        """
        taken = [route(sign(SECRET, "c@h", "caller"))]
        self.assertTrue(is_admitted(SECRET, request("caller", "callee"), taken))
        self.assertTrue(is_admitted(SECRET, request("callee", "caller"), taken))

    def test_another_dialog_does_not(self) -> None:
        """
        Another Call-ID or other tags, with a state that was signed for this one.
        """
        taken = [route(sign(SECRET, "c@h", "caller"))]
        self.assertFalse(is_admitted(SECRET, request("caller", "callee", "other@h"), taken))
        self.assertFalse(is_admitted(SECRET, request("x", "y"), taken))

    def test_another_secret_does_not(self) -> None:
        """
        A stranger cannot sign.
        """
        taken = [route(sign(b"t" * 32, "c@h", "caller"))]
        self.assertFalse(is_admitted(SECRET, request("caller", "callee"), taken))

    def test_no_route_no_state_no_pass(self) -> None:
        """
        Nothing is let in for a To tag alone.
        """
        self.assertFalse(is_admitted(SECRET, request("a", "b"), []))
        self.assertFalse(is_admitted(SECRET, request("a", "b"), [Uri.parse("sip:10.1.1.50:5080;lr")]))

    @given(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20), st.sampled_from(["!", ""])
    )
    def test_forged_states_are_refused_and_not_stumbled_over(self, text: str, separator: str) -> None:
        """
        Whatever stands in the parameter, the answer is no.
        """
        taken = [route(f"{text}{separator}{text}")]
        self.assertFalse(is_admitted(SECRET, request("a", "b"), taken))

    @given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
    def test_the_state_survives_the_uri(self, call_id: str, tag: str) -> None:
        """
        Any tag and Call-ID make a parameter that parses back to itself.
        """
        state = sign(SECRET, call_id, tag)
        self.assertEqual(route(state).params.get(PARAMETER), state)

    def test_both_names_of_a_caller_come_back_from_our_hand_only(self) -> None:
        """
        Whatever they are made of; for this dialog, and by our secret.
        """
        names = CallerNames('"Ann \xe9" <sip:201@example.com>;tag=a', '"." <sip:5.5@example.com>;tag=a')
        bye = request("a", "b")
        for secret, call_id, expected in (
            (SECRET, "c@h", names),
            (SECRET, "other@h", None),
            (b"t" * 32, "c@h", None),
        ):
            state = sign_names(secret, call_id, names)
            taken = [
                Uri.parse(f"sip:10.1.1.50:5080;lr;{CALLER_PARAMETER}={each}") for each in ("x.y!z", state)
            ]
            self.assertEqual(names_of(SECRET, bye, taken), expected)
        self.assertIsNone(names_of(SECRET, bye, [route("x")]))
