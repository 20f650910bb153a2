"""
Tests for L{sipxha.sync.wire}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync import wire
from sipxha.sync.wire import I8, Fault, NotEncodable, RowReader

_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r")
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _TEXT
    | st.integers(-(1 << 31), (1 << 31) - 1)
    | st.booleans()
    | st.builds(I8, st.integers(-(1 << 63), (1 << 63) - 1)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """
    Equal in value and in type, which C{==} is not for numbers.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


class RoundTripTests(SynchronousTestCase):
    """
    Tests for values that go out and come back.
    """

    @given(_VALUES)
    def test_an_answer_comes_back_as_it_went(self, value: Any) -> None:
        """
        Whatever it is.
        """
        self.assertTrue(same(wire.decode_answer(wire.encode_answer(value)), value))

    @given(_TEXT.filter(str.strip), st.lists(_VALUES, max_size=4))
    def test_a_call_comes_back_as_it_went(self, method: str, params: list[Any]) -> None:
        """
        Its method too, but for white space around it.
        """
        name, values = wire.decode_call(wire.encode_call(method, params))
        self.assertEqual(name, method.strip(" \t\r\n"))
        self.assertTrue(same(values, params))

    @given(st.integers(-400, 400), _TEXT)
    def test_a_fault_comes_back_as_it_went(self, code: int, text: str) -> None:
        """
        As an exception.
        """
        document = wire.encode_fault(Fault(code, text))
        fault = self.assertRaises(Fault, wire.decode_answer, document)
        self.assertEqual((fault.code, fault.text), (code, text))

    def test_a_fault_is_sent_whatever_its_text(self) -> None:
        """
        A quotation of hostile input must not be in the way.
        """
        document = wire.encode_fault(Fault(302, "a\0b\ud800"))
        self.assertEqual(self.assertRaises(Fault, wire.decode_answer, document).text, "a?b?")

    @given(
        st.lists(st.dictionaries(_TEXT, _TEXT | st.booleans(), min_size=1), max_size=9),
        st.integers(1, 4),
        st.integers(1, 70),
    )
    def test_rows_come_back_however_they_are_cut(self, rows: list[Any], each: int, cut: int) -> None:
        """
        The pieces of the sender and those of the network mean nothing.
        """
        document = b"".join(wire.encode_rows({"n": len(rows)}, "updates", iter(rows), each))
        self.assertTrue(same(wire.decode_answer(document), {"n": len(rows), "updates": rows}))
        reader = RowReader(lambda row: ("row", row))
        for start in range(0, len(document), cut):
            reader.feed(document[start : start + cut])
        self.assertEqual(reader.close(), {"n": len(rows), "updates": [("row", row) for row in rows]})


class WritingTests(SynchronousTestCase):
    """
    Tests for what cannot be written.
    """

    def test_what_xml_cannot_carry_is_not_written(self) -> None:
        """
        Better nothing than a document that the peer cannot read.
        """
        bad: list[Any] = [
            "\0",
            "\x1b",
            "\ud800",
            "\uffff",
            1 << 31,
            -(1 << 31) - 1,
            I8(1 << 63),
            1.5,
            None,
            b"",
        ]
        for value in bad:
            self.assertRaises(NotEncodable, wire.encode_answer, value)
            self.assertRaises(NotEncodable, wire.encode_answer, [{"a": value}])

    def test_numbers_of_64_bits_are_decimal(self) -> None:
        """
        And of that type, however small.
        """
        self.assertIn(b"<i8>162162</i8>", wire.encode_answer(I8(162162)))


def answer(value: str) -> bytes:
    """
    An answer around what should be a value.
    """
    return f"<methodResponse><params><param>{value}</param></params></methodResponse>".encode()


class ReadingTests(SynchronousTestCase):
    """
    Tests for what others write.
    """

    def test_integers_of_others(self) -> None:
        """
        Decimal and hexadecimal, as the sipX family writes them.
        """
        for text, number in (
            ("0x00000000027972", 162162),
            ("0000000000000000", 0),
            ("0x43fba4a900000001", 0x43FBA4A900000001),
            (" 12 ", 12),
            ("-5", -5),
        ):
            self.assertTrue(same(wire.decode_answer(answer(f"<value><i8>{text}</i8></value>")), I8(number)))

    def test_text_may_lack_its_type(self) -> None:
        """
        Old registrars write it so; comments are nobody's business.
        """
        self.assertEqual(wire.decode_answer(answer("<value>abc</value>")), "abc")
        self.assertEqual(wire.decode_answer(answer("<value/>")), "")
        commented = answer("<value><!-- x --><i4>1</i4></value>").replace(b"<params>", b"<!-- y --><params>")
        self.assertEqual(wire.decode_answer(commented), 1)

    def test_what_is_no_value_is_a_fault(self) -> None:
        """
        Never another exception.
        """
        for value in (
            "",
            "<value><i8></i8></value>",
            "<value><i8>1_0</i8></value>",
            "<value><i8>0x</i8></value>",
            "<value><i8>9223372036854775808</i8></value>",
            "<value><int>2147483648</int></value>",
            "<value><int>1</int><int>2</int></value>",
            "<value><boolean>2</boolean></value>",
            "<value><double>1.0</double></value>",
            "<value><string><b/></string></value>",
            "<value><struct><member><name>a</name></member></struct></value>",
            "<value><struct><x/></struct></value>",
            "<value><array/></value>",
            "<value><array><data><x/></data></array></value>",
            "<value>1</value><value>2</value>",
            "<x/>",
            "<value><array><data>" * 20 + "</data></array></value>" * 20,
        ):
            self.assertRaises(Fault, wire.decode_answer, answer(value))

    def test_document_types_and_entities_are_refused(self) -> None:
        """
        Neither files nor memory can be had by them.
        """
        laughs = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]>'
        outside = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        body = "<methodCall><methodName>m</methodName><params><param>&b;</param></params></methodCall>"
        for dtd in (laughs, outside, "<!DOCTYPE a>", '<!DOCTYPE a SYSTEM "http://example.com/a.dtd">'):
            for text in (body, body.replace("&b;", "<value>x</value>")):
                self.assertRaises(Fault, wire.decode_call, (dtd + text).encode())
                self.assertRaises(Fault, wire.decode_call, (dtd + text).encode("utf-16"))
            response = dtd + answer("<value>x</value>").decode()
            self.assertRaises(Fault, wire.decode_answer, response.encode())
            self.assertRaises(Fault, self.read_rows, response.encode())

    @given(st.binary(max_size=300))
    def test_bytes_are_a_call_or_a_fault(self, body: bytes) -> None:
        """
        Whatever they are.
        """
        for read in (wire.decode_call, wire.decode_answer, self.read_rows):
            try:
                read(body)
            except Fault:
                pass

    @given(_VALUES, st.data())
    def test_damaged_documents_are_read_or_a_fault(self, value: Any, data: st.DataObject) -> None:
        """
        One piece missing, doubled or replaced.
        """
        document = wire.encode_answer({"updates": [{"a": value}], "b": value})
        start = data.draw(st.integers(0, len(document)))
        end = data.draw(st.integers(start, min(start + 40, len(document))))
        middle = data.draw(
            st.sampled_from([b"", b"<", b"<value>", b"</value>", b"&x;", document[start:end] * 2])
        )
        damaged = document[:start] + middle + document[end:]
        for read in (wire.decode_answer, self.read_rows):
            try:
                read(damaged)
            except Fault:
                pass

    def test_rows_must_be_where_they_belong(self) -> None:
        """
        In one array, in the struct that is the answer.
        """
        row = "<value><struct><member><name>a</name><value>1</value></member></struct></value>"
        array = f"<value><array><data>{row}</data></array></value>"
        mixed = f"<value><array><data>x{row}<value>1</value>{row}</data></array></value>"
        for value in (array, f"<value><array><data>{array}{array}</data></array></value>", mixed):
            self.assertRaises(Fault, self.read_rows, answer(value))

    def test_a_fault_is_found_where_rows_were_expected(self) -> None:
        """
        A pull may be refused.
        """
        fault = self.assertRaises(Fault, self.read_rows, wire.encode_fault(Fault(307, "no")))
        self.assertEqual(fault.code, 307)

    def read_rows(self, body: bytes) -> Any:
        reader = RowReader(lambda row: row)
        reader.feed(body)
        return reader.close()
