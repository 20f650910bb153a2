"""
Tests for L{sipxha.store.registration_xml}, on files of each generation.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.domain import ServedDomain
from sipxha.store.registration_xml import COLUMNS, Found, read_registrations, write_registrations
from tests.registry.rows import NOW, a_row
from tests.support.sipx import EXPIRES, FIRST, SECOND, THIRD, table

DOMAIN = ServedDomain("example.com", ("pbx.example.com",))

OLD = {
    "callid": "f00d@10.1.1.7",
    "cseq": "17",
    "uri": "sip:201@example.com",
    "contact": "&lt;sip:201@10.1.1.7&gt;",
    "expires": str(EXPIRES),
}


class ReadingTests(SynchronousTestCase):
    """
    Tests for what becomes of an item.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def read(self, text: str) -> list[Found]:
        """
        What is found in a file.
        """
        self.path.write_text(text)
        return list(read_registrations(self.path, DOMAIN))

    def row(self, text: str) -> Binding:
        """
        The only row of a file.
        """
        ((_, _, row, problem),) = self.read(text)
        assert row is not None, problem
        return row

    def test_the_first_generation(self) -> None:
        """
        Six columns.
        """
        row = self.row(FIRST)
        self.assertEqual(
            row._replace(primary="", update_number=0, deadline=0.0),
            a_row(
                contact="<sip:201@10.1.1.7:5060;transport=tcp>",
                qvalue="0.9",
                expires=EXPIRES,
                received="",
                primary="",
                update_number=0,
                deadline=0.0,
            ),
        )

    def test_the_second_generation(self) -> None:
        """
        A URI without brackets keeps its parameters.
        """
        row = self.row(SECOND)
        self.assertEqual((row.contact, row.qvalue), ("<sip:201@10.1.1.7:5060;transport=tcp>", ""))

    def test_the_third_generation(self) -> None:
        """
        The contact is what a REGISTER of that phone would make of it here;
        GRUUs are not ours.
        """
        row = self.row(THIRD)
        self.assertEqual(row.uri, "<sip:201@example.com>")
        self.assertEqual(row.contact, "<sip:201@10.1.1.7:5060;transport=tcp>;+foo=bar")
        self.assertEqual(row.instance_id, "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>")
        self.assertEqual((row.path, row.gruu), ("<sip:edge.example.com;lr>", ""))

    def test_an_alias_of_the_domain(self) -> None:
        """
        Is the domain.
        """
        row = self.row(table("registration", {**OLD, "uri": "sip:201@PBX.example.com"}))
        self.assertEqual(row.identity, "201@example.com")

    def test_what_can_be_no_row_is_told_with_its_line(self) -> None:
        """
        And costs only itself.
        """
        items = [
            {**OLD, "uri": "sip:201@example.org"},
            {**OLD, "uri": ""},
            {**OLD, "contact": "&lt;sip:201"},
            {**OLD, "contact": ""},
            {**OLD, "cseq": "many"},
            {**OLD, "cseq": str(1 << 40)},
            {**OLD, "callid": ""},
            {**OLD, "callid": "x" * 300},
            {**OLD, "expires": "-1"},
            OLD,
        ]
        *bad, good = self.read(table("registration", *items))
        self.assertEqual([(found.line, found.row) for found in bad], [(line, None) for line in range(2, 11)])
        self.assertTrue(all(found.problem for found in bad), bad)
        self.assertIsNotNone(good.row)
        self.assertIn("sip:201@example.com", good.name)


class WritingTests(SynchronousTestCase):
    """
    Tests for what is written.
    """

    def test_it_has_sipx_columns_in_their_order(self) -> None:
        """
        Numbers in hexadecimal; nothing is an empty element.
        """
        row = a_row(update_number=0x43FF5A2700000003)
        text = "".join(write_registrations([row._asdict()], NOW))
        self.assertIn('timestamp="1140817000"', text)
        self.assertIn("<update_number>0x43ff5a2700000003</update_number>", text)
        self.assertIn("<uri>sip:201@example.com</uri>", text)
        self.assertIn("<gruu />", text)
        places = [text.index(f"<{column}") for column in COLUMNS]
        self.assertEqual(places, sorted(places))

    def test_it_can_be_read_back(self) -> None:
        """
        All that sipX has columns for.
        """
        rows = [
            a_row(
                contact="<sip:a&b@10.1.1.7;x=%3c>;y",
                qvalue="0.5",
                path="<sip:p;lr>,<sip:q;lr>",
                instance_id="<i>",
            ),
            a_row(identity="a%26b@example.com", uri="<sip:a%26b@example.com>", callid="<&>\"'"),
        ]
        path = Path(self.mktemp())
        path.write_text("".join(write_registrations((row._asdict() for row in rows), NOW)))
        kept = [
            found.row._replace(primary="", update_number=0, deadline=0.0)
            for found in read_registrations(path, DOMAIN)
            if found.row is not None
        ]
        self.assertEqual(
            [row.key for row in kept],
            [(DOMAIN_IDENTITY[index], *row.key[1:]) for index, row in enumerate(rows)],
        )
        for row, before in zip(kept, rows, strict=True):
            self.assertEqual(
                (row.uri, row.qvalue, row.path, row.instance_id, row.expires, row.cseq),
                (before.uri, before.qvalue, before.path, before.instance_id, before.expires, before.cseq),
            )


DOMAIN_IDENTITY = ("201@example.com", "a&b@example.com")
"""As the registry writes them: escapes only where they are needed."""
