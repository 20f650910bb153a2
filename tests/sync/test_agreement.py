"""
Tests for L{sipxha.sync.agreement}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.auth.users import Version
from sipxha.sync import agreement, rpc, wire
from sipxha.sync.agreement import MOST_HASHES, PIECE, Agreement

OURS = Agreement(Version(7, "sipx1.example.com"), {"users": "00ff", "secret": "12"})


def through_the_wire(document: list[bytes]) -> Any:
    """
    What a peer reads of an answer of rows.
    """
    reader = wire.RowReader(agreement.read_piece)
    for piece in document:
        reader.feed(piece)
    return reader.close()


class AgreementTests(SynchronousTestCase):
    """
    Tests for what nodes tell of users and rules.
    """

    def test_what_is_told_is_read(self) -> None:
        """
        As a call, and as its answer.
        """
        _, params = wire.decode_call(
            wire.encode_call(agreement.AGREEMENT, agreement.write_call("sipx1.example.com", OURS))
        )
        self.assertEqual(rpc.caller_of(params), "sipx1.example.com")
        self.assertEqual(agreement.read_call(params), OURS)
        answer = wire.decode_answer(wire.encode_answer(agreement.write_answer(OURS)))
        self.assertEqual(agreement.read_answer(answer), OURS)

    def test_what_is_told_wrongly_is_refused(self) -> None:
        """
        Types, lengths, and what is no version.
        """
        good = ["sipx1.example.com", "7 sipx1.example.com", {"users": "00"}]
        self.assertEqual(agreement.read_call(good).version.counter, 7)  # type: ignore[arg-type]
        many = {str(number): "" for number in range(MOST_HASHES + 1)}
        for version, hashes in (
            (7, {}),
            ("x", {}),
            ("-1 a", {}),
            ("1 " + "a" * 255, {}),
            ("1", []),
            ("1", {"users": 1}),
            ("1", {"users": "0" * 256}),
            ("1", many),
        ):
            params: list[Any] = ["sipx1.example.com", version, hashes]
            with self.assertRaises(wire.Fault) as caught:
                agreement.read_call(params)
            self.assertEqual(caught.exception.code, rpc.INVALID_PARAMETER)
            self.assertRaises(rpc.Malformed, agreement.read_answer, {"version": version, "hashes": hashes})
        values: list[Any] = ["", 7, [], {}, {"version": "1"}]
        for value in values:
            self.assertRaises(rpc.Malformed, agreement.read_answer, value)
        self.assertRaises(wire.Fault, agreement.read_call, good[:2])

    @given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"))))
    def test_users_come_as_they_went(self, text: str) -> None:
        """
        Whatever stands in them.
        """
        text = f"<users>\n\t{text}</users>\n"
        self.assertEqual(agreement.read_users(through_the_wire(list(agreement.write_users(text)))), text)

    def test_many_users_travel_in_pieces(self) -> None:
        """
        None of which is long.
        """
        text = "0123456789" * (PIECE // 4)
        document = list(agreement.write_users(text))
        self.assertEqual(len(document), 4)
        self.assertEqual(agreement.read_users(through_the_wire(document)), text)

    def test_what_holds_no_users_is_refused(self) -> None:
        """
        As an answer, and as a piece.
        """
        values: list[Any] = [1, "", {}, {"users": ""}, {"users": []}, {"users": [1]}]
        for value in values:
            self.assertRaises(rpc.Malformed, agreement.read_users, value)
        structs: list[dict[str, Any]] = [{}, {"text": 1}]
        for struct in structs:
            self.assertRaises(wire.Fault, agreement.read_piece, struct)
