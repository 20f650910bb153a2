"""
Tests for L{sipxha.sip.fields}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.sip.fields import Fields
from sipxha.sip.grammar import MalformedField, UnsafeValue
from tests.sip.samples import a_request


class LookupTests(SynchronousTestCase):
    """
    Tests for finding values.
    """

    def test_M05_every_spelling_is_the_same_field(self) -> None:
        """
        Long, compact, folded, with blanks before the colon.
        """
        message = a_request("s: one", "SUBJECT : two", "Subject:\r\n three")
        self.assertEqual(message.rows("subject"), ["one", "two", "three"])
        self.assertEqual(message.get("subject"), "one")
        self.assertTrue(message.has("subject"))
        self.assertEqual(message.count("subject"), 3)

    def test_M06_rows_and_commas_are_one_list(self) -> None:
        """
        In order.
        """
        message = a_request("k: a, b", "Supported:", "Supported: c")
        self.assertEqual(message.values("supported"), ["a", "b", "c"])

    def test_M06_challenges_and_credentials_are_never_taken_apart(self) -> None:
        """
        Their commas do not separate values.
        """
        for name in ("WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization"):
            message = a_request(f"{name}: Digest a=b, c=d")
            self.assertEqual(message.values(name.lower()), ["Digest a=b, c=d"])

    def test_a_row_mentions_what_stands_in_it(self) -> None:
        """
        In any row of that name, and in no other.
        """
        fields = Fields([("Via", "one"), ("To", "three"), ("v", "two, four")])
        self.assertEqual(
            [fields.mentions("via", text) for text in ("one", "two, f", "three")], [True, True, False]
        )

    def test_M07_a_folded_value_is_read_as_one_line(self) -> None:
        """
        It leaves folded.
        """
        message = a_request("Subject: a\r\n  b\r\n\tc")
        self.assertEqual(message.get("subject"), "a b c")
        self.assertIn(b"Subject: a\r\n  b\r\n\tc\r\n", message.encode())

    def test_what_is_not_there_is_none(self) -> None:
        """
        Or an empty list.
        """
        message = a_request()
        self.assertIsNone(message.get("subject"))
        self.assertEqual((message.rows("subject"), message.values("subject")), ([], []))
        self.assertFalse(message.has("subject"))


class EditTests(SynchronousTestCase):
    """
    Tests for changing rows.
    """

    def fields(self) -> Fields:
        return Fields([("Via", "a"), ("Route", "r1, r2"), ("Via", "b"), ("X-y", "1")])

    def rows(self, fields: Fields) -> list[str]:
        return list(fields._lines)

    def test_set_leaves_one_row_where_the_first_stood(self) -> None:
        """
        A new name goes to the end.
        """
        fields = self.fields()
        fields.set("via", "c")
        fields.set("x-Y", "2")
        fields.set("expires", "3")
        self.assertEqual(self.rows(fields), ["Via: c", "Route: r1, r2", "x-Y: 2", "Expires: 3"])

    def test_add_puts_a_row_after_its_like(self) -> None:
        """
        A new name goes to the end.
        """
        fields = self.fields()
        fields.add("via", "c")
        fields.add("expires", "3")
        self.assertEqual(
            self.rows(fields), ["Via: a", "Route: r1, r2", "Via: b", "Via: c", "X-y: 1", "Expires: 3"]
        )

    def test_prepend_puts_a_row_before_its_like(self) -> None:
        """
        A new name goes to the top.
        """
        fields = self.fields()
        fields.prepend("route", "r0")
        fields.prepend("record-route", "x")
        self.assertEqual(
            self.rows(fields), ["Record-Route: x", "Via: a", "Route: r0", "Route: r1, r2", "Via: b", "X-y: 1"]
        )

    def test_remove_takes_every_spelling(self) -> None:
        """
        So that nothing is smuggled past (CVE-2020-28361).
        """
        message = a_request("X-Thing : 1", "x-thing:\r\n 2", "X-THING\t: 3")
        message.remove("x-thing")
        self.assertFalse(message.has("x-thing"))
        self.assertNotIn(b"hing", message.encode())
        message.remove("x-thing")

    def test_remove_first_takes_one_value(self) -> None:
        """
        Out of a list too; the row that becomes empty goes.
        """
        fields = self.fields()
        left = []
        for _ in range(3):
            fields.remove_first("route")
            left.append(fields.values("route"))
        self.assertEqual(left, [["r2"], [], []])
        fields.remove_first("via")
        self.assertEqual(self.rows(fields), ["Via: b", "X-y: 1"])

    def test_remove_first_keeps_the_spelling_of_the_name(self) -> None:
        """
        And minds quotes and brackets.
        """
        message = a_request('m: "a,b" <sip:c,d@e> , <sip:f>')
        message.remove_first("contact")
        self.assertIn(b"\r\nm: <sip:f>\r\n", message.encode())

    def test_drop_first_takes_what_is_printed_like_this(self) -> None:
        """
        A row of its own, or the beginning of one.
        """
        for rows in (["a;b=1", "c, d"], ["a;b=1, c, d"], ["a;b=1,c, d"]):
            fields = Fields([("Via", row) for row in rows])
            line = Fields([("via", "a;b=1")]).first_line("via")
            self.assertTrue(fields.drop_first("via", line), rows)
            self.assertEqual(fields.values("via"), ["c", "d"])
        for row in ("a;b=12", "A;b=1", "c, a;b=1"):
            fields = Fields([("Via", row)])
            self.assertFalse(fields.drop_first("via", "Via: a;b=1"), row)
            self.assertEqual(fields.rows("via"), [row])
        self.assertFalse(Fields().drop_first("via", "Via: a"))

    def test_remove_first_refuses_a_list_that_has_no_end(self) -> None:
        """
        What is cut from it could be anything.
        """
        message = a_request('Route: <sip:a>, "b', 'Path: "b, c')
        with self.assertRaises(MalformedField):
            message.remove_first("path")
        message.remove_first("route")

    def test_replace_first_changes_one_value(self) -> None:
        """
        In a list or alone.
        """
        fields = self.fields()
        fields.replace_first("route", "R")
        fields.replace_first("via", "A")
        self.assertEqual(self.rows(fields), ["Via: A", "Route: R, r2", "Via: b", "X-y: 1"])

    @given(
        st.sampled_from(["set", "add", "prepend", "replace_first"]),
        st.text(st.characters(codec="utf-8"), max_size=6),
        st.sampled_from(["\r", "\n", "\0", "\r\nEvil: 1"]),
        st.text(st.characters(codec="utf-8"), max_size=6),
    )
    def test_M29_no_value_can_end_its_line(self, verb: str, before: str, evil: str, after: str) -> None:
        """
        Whatever it is given; and nothing has changed then.
        """
        fields = self.fields()
        with self.assertRaises(UnsafeValue):
            getattr(fields, verb)("via", before + evil + after)
        self.assertEqual(self.rows(fields), self.rows(self.fields()))
        with self.assertRaises(UnsafeValue):
            Fields([("Via", before + evil + after)])
