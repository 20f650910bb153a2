"""
Tests for L{sipxha.sync.rpc}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.validate import INT32, LATEST
from sipxha.sync import rpc, wire
from sipxha.sync.numbers import LARGEST
from sipxha.sync.wire import I8, Fault
from tests.support.bindings import a_row

ME, PEER = "sipx2.example.com", "sipx1.example.com"

_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=16
)
_SOME = _TEXT.filter(bool)
_ROWS = st.builds(
    Binding,
    uri=_TEXT,
    identity=_SOME,
    contact=_SOME,
    qvalue=_TEXT,
    callid=_SOME,
    cseq=st.integers(0, INT32),
    expires=st.integers(0, LATEST),
    instance_id=_SOME,
    reg_id=st.integers(0, INT32),
    gruu=_TEXT,
    path=_TEXT,
    received=_TEXT,
    primary=_SOME.map(str.lower),
    update_number=st.integers(1, LARGEST),
    deadline=st.just(0.0),
)


class RowTests(SynchronousTestCase):
    """
    Tests for rows as structs.
    """

    @given(_ROWS)
    def test_every_row_that_may_be_stored_travels(self, row: Binding) -> None:
        """
        Over the real text, and no column is lost.
        """
        struct = wire.decode_answer(wire.encode_answer(rpc.write_row(rpc.MEMO, row)))
        assert isinstance(struct, dict)
        self.assertEqual(rpc.read_row(rpc.MEMO, struct), row)

    def test_the_members_are_those_of_the_memo(self) -> None:
        """
        SyncDesign 5.8; what it does not know comes after.
        """
        members = list(rpc.write_row(rpc.MEMO, a_row()))
        known = "uri callid contact qvalue instanceId gruu path primary cseq expires updateNumber"
        self.assertEqual(members, [*known.split(), "identity", "received"])
        self.assertEqual(rpc.write_row(rpc.MEMO, a_row(reg_id=2, instance_id="x"))["regId"], 2)

    def test_a_row_of_another_implementation_has_its_identity_from_the_uri(self) -> None:
        """
        Members that we do not know are ignored.
        """
        members = rpc.write_row(rpc.MEMO, a_row(uri='"Me" <sip:201@EXAMPLE.com:5060;x=y>'))
        del members["identity"], members["received"]
        members["instrument"] = "tel"
        row = rpc.read_row(rpc.MEMO, members)
        self.assertEqual((row.identity, row.received), ("201@example.com", ""))

    def test_seconds_after_2038_travel(self) -> None:
        """
        As 64 bits, which are taken where 32 were asked.
        """
        members = rpc.write_row(rpc.MEMO, a_row(expires=1 << 33))
        self.assertIsInstance(members["expires"], I8)
        self.assertEqual(rpc.read_row(rpc.MEMO, {**members, "cseq": I8(5)}).cseq, 5)

    def test_a_bad_row_is_a_fault(self) -> None:
        """
        302 for what is no such member, 304 for what is no such row.
        """
        good = rpc.write_row(rpc.MEMO, a_row())
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
        self.assertEqual(self.assertRaises(Fault, rpc.read_row, rpc.MEMO, members).code, code, members)


class CallTests(SynchronousTestCase):
    """
    Tests for the parameters of calls.
    """

    def test_every_call_comes_back_as_it_went(self) -> None:
        """
        With the caller first.
        """
        for call in (rpc.Pull(PEER, 7), rpc.Reset(7), rpc.Push(6, [a_row(update_number=7)])):
            method, params = rpc.write_call(rpc.MEMO, ME, call)
            rpc.is_known(method)
            self.assertEqual(rpc.caller_of(params), ME)
            self.assertEqual(rpc.read_call(method, params), call)

    def test_the_methods_are_those_of_the_memo(self) -> None:
        """
        And no others.
        """
        names = {f"registrarSync.{name}" for name in ("pullUpdates", "reset", "pushUpdates")}
        self.assertEqual(set(rpc.METHODS), names)
        fault = self.assertRaises(Fault, rpc.is_known, "registrarSync.other")
        self.assertEqual(fault.code, rpc.UNKNOWN_METHOD)

    def test_parameters_that_are_missing_or_mistyped_are_302(self) -> None:
        """
        For each method and place.
        """
        row = rpc.write_row(rpc.MEMO, a_row())
        cases: list[tuple[str, list[list[Any]]]] = [
            (rpc.MEMO.pull, [[], [PEER], ["", I8(1)], [5, I8(1)], [PEER, "1"], [PEER, I8(-1)], [PEER, True]]),
            (rpc.MEMO.reset, [[], ["1"], [I8(-1)], [I8(LARGEST + 1)]]),
            (rpc.MEMO.push, [[], [I8(1)], ["", [row]], [I8(1), []], [I8(1), {}], [I8(1), ["row"]]]),
        ]
        for method, lists in cases:
            for params in lists:
                fault = self.assertRaises(Fault, rpc.read_call, method, [ME, *params])
                self.assertEqual(fault.code, rpc.INVALID_PARAMETER, params)

    def test_answers_that_are_none_are_malformed(self) -> None:
        """
        A count that is wrong included.
        """
        numbers: list[Any] = [None, "1", True, -1, [], {}]
        for value in numbers:
            self.assertRaises(rpc.Malformed, rpc.number_answered, value)
        rows: list[Any] = [
            None,
            1,
            {},
            {"updates": []},
            {"numUpdates": 1, "updates": []},
            {"numUpdates": 1, "updates": [{}]},
        ]
        for value in rows:
            self.assertRaises(rpc.Malformed, rpc.rows_answered, rpc.MEMO, value)
