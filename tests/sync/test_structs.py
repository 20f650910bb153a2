"""
Tests for L{sipxha.sync.structs}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.sync import rpc, wire
from sipxha.sync.structs import MEMO, SIPX
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row
from tests.sync.rows import ROWS

NOW = 1_700_000_000.0


def write(row: Binding) -> dict[str, Any]:
    """
    As the memo has it.
    """
    return MEMO.write_row(row, NOW)


class RowTests(SynchronousTestCase):
    """
    Tests for rows as structs.
    """

    @given(ROWS)
    def test_every_row_that_may_be_stored_travels(self, row: Binding) -> None:
        """
        Over the real text, and no column is lost.
        """
        struct = wire.decode_answer(wire.encode_answer(write(row)))
        assert isinstance(struct, dict)
        self.assertEqual(MEMO.read_row(struct), row)

    def test_the_members_are_those_of_the_memo(self) -> None:
        """
        SyncDesign 5.8; what it does not know comes after.
        """
        members = list(write(a_row()))
        known = "uri callid contact qvalue instanceId gruu path primary cseq expires updateNumber"
        self.assertEqual(members, [*known.split(), "identity", "received"])
        self.assertEqual(write(a_row(reg_id=2, instance_id="x"))["regId"], 2)

    def test_a_row_of_another_implementation_has_its_identity_from_the_uri(self) -> None:
        """
        Members that we do not know are ignored.
        """
        members = write(a_row(uri='"Me" <sip:201@EXAMPLE.com:5060;x=y>'))
        del members["identity"], members["received"]
        members["instrument"] = "tel"
        row = MEMO.read_row(members)
        self.assertEqual((row.identity, row.received), ("201@example.com", ""))

    def test_seconds_after_2038_travel(self) -> None:
        """
        As 64 bits, which are taken where 32 were asked.
        """
        members = write(a_row(expires=1 << 33))
        self.assertIsInstance(members["expires"], I8)
        self.assertEqual(MEMO.read_row({**members, "cseq": I8(5)}).cseq, 5)

    def test_a_bad_row_is_a_fault(self) -> None:
        """
        302 for what is no such member, 304 for what is no such row.
        """
        good = write(a_row())
        for member in good:
            if member not in ("identity", "received"):
                self.refused(rpc.INVALID_PARAMETER, {name: good[name] for name in good if name != member})
            self.refused(rpc.INVALID_PARAMETER, {**good, member: []})
        self.refused(rpc.INVALID_PARAMETER, {**good, "cseq": "1"})
        self.refused(rpc.INVALID_PARAMETER, {**good, "cseq": True})
        for member, value in (
            ("cseq", -1),
            ("expires", -1),
            ("updateNumber", I8(0)),
            ("updateNumber", I8((1 << 63) - 1)),
            ("contact", ""),
            ("callid", "x" * 10_000),
            ("path", "a\tb"),
            ("primary", ""),
            ("regId", -1),
        ):
            self.refused(rpc.UPDATE_FAILED, {**good, member: value})
        self.refused(rpc.UPDATE_FAILED, {**good, "identity": "", "uri": "\x7f<"})

    def refused(self, code: int, members: dict[str, Any]) -> None:
        self.assertEqual(self.assertRaises(Fault, MEMO.read_row, members).code, code, members)


class SipXTests(SynchronousTestCase):
    """
    Tests for what sipX does otherwise (registry.md 1).
    """

    def written(self, row: Binding) -> dict[str, Any]:
        return SIPX.write_row(row, NOW)

    @given(ROWS)
    def test_every_row_that_may_be_stored_travels(self, row: Binding) -> None:
        """
        But for texts that only sipX's nulls look like.
        """
        row = row._replace(uri="<sip:1@example.com>", contact="<sip:1@10.1.1.7>")
        if "%" in row:
            return
        struct = wire.decode_answer(wire.encode_answer(SIPX.write_row(row, NOW)))
        self.assertEqual(SIPX.read_row(struct), row)

    def test_the_members_are_sipXs(self) -> None:
        """
        With those that came later; ours are ignored there.
        """
        known = (
            "uri callid contact qvalue instance_id gruu primary cseq expires update_number path instrument"
        )
        members = set(self.written(a_row()))
        self.assertEqual(members, {*known.split(), "identity", "received"})

    def test_numbers_are_hexadecimal(self) -> None:
        """
        As C prints them, and zero is zeros.
        """
        self.assertEqual(SIPX.number(162162).text(), "0x00000000027972")
        self.assertEqual(SIPX.number(0x43FBA4A900000001).text(), "0x43fba4a900000001")
        self.assertEqual(SIPX.number(0).text(), "0000000000000000")
        for number in (0, 1, 162162, 0x43FBA4A900000001):
            self.assertEqual(wire.decode_answer(wire.encode_answer(SIPX.number(number))), number)

    def test_brackets_that_nobody_needs_are_left_out(self) -> None:
        """
        And come back, for the contact is part of the key.
        """
        for contact, text in (
            ("<sip:1@10.1.1.7>", "sip:1@10.1.1.7"),
            ("<sip:1@10.1.1.7;transport=tcp>", "<sip:1@10.1.1.7;transport=tcp>"),
            ("<sip:1@10.1.1.7>;x=y", "<sip:1@10.1.1.7>;x=y"),
            ("*", "*"),
        ):
            members = self.written(a_row(contact=contact))
            self.assertEqual(members["contact"], text)
            self.assertEqual(SIPX.read_row(members).contact, contact)

    def test_a_row_as_an_old_sipX_sends_it(self) -> None:
        """
        Percent signs are nothing, path is not known, the AOR comes from the uri.
        """
        row = SIPX.read_row(
            {
                "uri": "sip:201@EXAMPLE.com",
                "callid": "f00d@10.1.1.7",
                "contact": "sip:201@10.1.1.7:5060",
                "qvalue": "%",
                "instance_id": "%",
                "gruu": "%",
                "cseq": 17,
                "expires": 1140816999,
                "primary": "Two.example.com",
                "instrument": "%",
                "update_number": I8(7),
            }
        )
        self.assertEqual(
            row,
            a_row(
                uri="<sip:201@EXAMPLE.com>",
                contact="<sip:201@10.1.1.7:5060>",
                expires=1140816999,
                received="",
                primary="two.example.com",
                update_number=7,
            ),
        )
