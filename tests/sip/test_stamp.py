"""
Tests for L{sipxha.sip.stamp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.check import check
from sipxha.sip.grammar import MalformedField
from sipxha.sip.message import Request
from sipxha.sip.stamp import stamp
from tests.sip.samples import a_request

VIAS = {
    "SIP/2.0/UDP h:5070;branch=z9hG4bK-1;rport": "SIP/2.0/UDP h:5070;branch=z9hG4bK-1;rport=99;received=10.0.0.9",
    "SIP/2.0/UDP h;rport;branch=z9hG4bK-1": "SIP/2.0/UDP h;rport=99;branch=z9hG4bK-1;received=10.0.0.9",
    "SIP/2.0/UDP h;branch=z9hG4bK-1;RPORT": "SIP/2.0/UDP h;branch=z9hG4bK-1;rport=99;received=10.0.0.9",
    "SIP/2.0/UDP h;branch=z9hG4bK;rport;rport": "SIP/2.0/UDP h;branch=z9hG4bK;rport=99;received=10.0.0.9",
    "SIP/2.0/UDP h;rport=5;branch=z9hG4bK-1;rport": "SIP/2.0/UDP h;rport=99;branch=z9hG4bK-1;received=10.0.0.9",
    "SIP/2.0/UDP h;received=1.2.3.4;branch=z9hG4bK-1;rport": "SIP/2.0/UDP h;received=10.0.0.9;branch=z9hG4bK-1;rport=99",
    "SIP/2.0/UDP h;branch=z9hG4bK-1": "SIP/2.0/UDP h;branch=z9hG4bK-1;received=10.0.0.9",
    "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-1": "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK-1",
    "SIP/2.0/UDP h;branch=z9hG4bK-1;rport, SIP/2.0/UDP i;branch=z9hG4bK-2;rport": (
        "SIP/2.0/UDP h;branch=z9hG4bK-1;rport=99;received=10.0.0.9, SIP/2.0/UDP i;branch=z9hG4bK-2;rport"
    ),
}


def sent(via: str) -> Request:
    """
    A request that came with this Via, above another one.
    """
    return a_request(f"Via: {via}", "Via: SIP/2.0/UDP j;branch=z9hG4bK-3;rport", without="Via")


class StampTests(SynchronousTestCase):
    """
    Who sent it is noted in the top Via.
    """

    def test_M14_the_top_via_says_where_it_came_from(self) -> None:
        """
        In the same words whether or not the request was looked at before; the
        other Vias stay as they are.
        """
        for via, noted in VIAS.items():
            for is_checked in (False, True):
                request = sent(via)
                if is_checked and "z9hG4bK-" in via:
                    check(request)
                    request.via, request.vias  # noqa: B018  (what is read now must not be believed later)
                stamp(request, "10.0.0.9", 99)
                rows = request.rows("via")
                self.assertEqual(rows, [noted, "SIP/2.0/UDP j;branch=z9hG4bK-3;rport"])
                self.assertEqual(str(request.via), noted.partition(",")[0])
                self.assertEqual(str(request.vias[0]), noted.partition(",")[0])

    def test_what_tells_it_from_others_stays(self) -> None:
        """
        The note is no part of that.
        """
        for via in VIAS:
            before, after = sent(via), sent(via)
            after.usual_outline()
            stamp(after, "10.0.0.9", 99)
            self.assertEqual(after.outline, before.outline)

    def test_it_is_printed_as_it_is_stamped(self) -> None:
        """
        Also if it was printed before.
        """
        request = sent("SIP/2.0/UDP h;branch=z9hG4bK-1;rport")
        check(request)
        request.encode()
        stamp(request, "10.0.0.9", 99)
        self.assertIn(b";rport=99;received=10.0.0.9\r\n", request.encode())

    def test_it_needs_a_via_that_can_be_read(self) -> None:
        """
        Else there is no way back.
        """
        self.assertRaises(MalformedField, stamp, sent("x"), "10.0.0.9", 99)
