"""
Tests for L{sipxha.config.schema}.
"""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from sipxha.config.schema import SCHEMA, Schema

MINIMAL = """\
<sipxha xmlns="urn:sipxha:config:1">
<domain name="example.com"/>
<node name="sipx1.example.com" address="127.0.0.1"/>
<secret file="secret.key"/>
<users credentials="credential.xml" permissions="permission.xml" aliases="alias.xml"/>
{more}
</sipxha>
"""


class ProblemsTests(SynchronousTestCase):
    """
    Tests for what an operator is told whose document breaks the schema.
    """

    def problems(self, document: str) -> list[str]:
        """
        The problems of a document as C{line: text}.
        """
        return [f"{line}: {text}" for line, text in Schema().problems(etree.fromstring(document))]

    def test_a_good_document_has_none(self) -> None:
        """
        The elements may come in any order.
        """
        self.assertEqual(
            self.problems(MINIMAL.format(more="<dns/><tls certificate='a' key='b' authority='c'/>")), []
        )

    def test_every_finding_has_its_line_and_says_what_is_allowed(self) -> None:
        """
        All are found at once, and sorted by line.
        """
        cases = {
            "<dsn/>": "<dsn> is not known inside <sipxha> (known: domain, node, secret, users, tls,",
            '<dns serve="1"/>': "<dns> has no attribute serve (known: zone, server)",
            '<console address="::1"/>': "<console> lacks the attribute port",
            '<console address="::1" port="65536"/>': (
                "<console>: port must be a port number from 1 to 65535, not '65536'"
            ),
            '<log level="loud"/>': "<log>: level must be debug, info, warn, error or critical, not 'loud'",
            "<log>x<!-- y -->z</log>": "<log> holds no text, but has 'xz'",
            '<call-events listen="1"/>': "<call-events> needs exactly one of the attributes dsn, embedded",
            '<call-events dsn="a" embedded="true"/>': "<call-events> needs exactly one of the attributes",
            '<proxy udp="1"><forwarding-rules file="a"/><tls certificate="a"/></proxy>': (
                "<tls> lacks the attribute key"
            ),
            '<tls certificate="a" key="b"/>': "<tls> lacks the attribute authority",
            '<proxy udp="1"/>': "<proxy> lacks the element <forwarding-rules>",
            '<secret file="b"/>': "<sipxha> takes only one <secret>",
            '<log xmlns=""/>': "<log> is not in the namespace urn:sipxha:config:1",
            '<registrar><replication port="1"/></registrar>': "<replication> lacks the element <peer>",
            '<limits message="4095"/>': (
                "<limits>: message must be a number of bytes from 4096 to 16777216, not '4095'"
            ),
            '<limits vias="0"/>': "<limits>: vias must be a whole number from 16 to 4096, not '0'",
            '<limits identifier="127"/>': "identifier must be a number of characters from 128 to 4096",
            '<limits head-time="0.5"/>': "head-time must be a number of seconds from 1 to 3600, not '0.5'",
            '<limits idle-time="39"/>': "idle-time must be a number of seconds from 40 to 604800, not '39'",
            '<limits idle="60"/>': "<limits> has no attribute idle (known: message, head, fields, vias,",
            '<call-resolver run-daily="24:00"><cse-hosts>localhost</cse-hosts></call-resolver>': (
                "<call-resolver>: run-daily must be a time of day such as 03:00, not '24:00'"
            ),
            '<registrar digest="SHA1"/>': "<registrar>: digest must be SHA-256 and MD5, either or both",
            '<registrar><replication port="1"><peer>a b</peer></replication></registrar>': (
                "<peer> must hold a full host name such as sipx1.example.com, not 'a b'"
            ),
        }
        parser = etree.XMLParser(remove_comments=True)
        for more, expected in cases.items():
            root = etree.fromstring(MINIMAL.format(more=more), parser)
            problems = Schema().problems(root)
            self.assertEqual(len(problems), 1, (more, problems))
            self.assertEqual(problems[0].line, 6)
            self.assertIn(expected, problems[0].text)

        everything = MINIMAL.format(more='<bogus/>\n<dns a="b"/>').replace(' address="127.0.0.1"', "")
        self.assertEqual([problem.split(":")[0] for problem in self.problems(everything)], ["3", "6", "7"])

    def test_another_document_is_called_another_document(self) -> None:
        """
        Nothing inside it is worth a word.
        """
        (problem,) = self.problems("<sipxha><dns/></sipxha>")
        self.assertIn('the outermost element must be <sipxha xmlns="urn:sipxha:config:1">', problem)

    def test_each_kind_of_value_is_explained(self) -> None:
        """
        Every attribute and text of the schema has a kind, and every kind its
        meaning in words.
        """
        rng = "{http://relaxng.org/ns/structure/1.0}"
        meaning = "{http://relaxng.org/ns/compatibility/annotations/1.0}documentation"
        root = etree.parse(SCHEMA).getroot()
        kinds = {
            define.get("name"): define.findtext(meaning)
            for define in root.iter(f"{rng}define")
            if any(define.find(f"{rng}{value}") is not None for value in ("data", "value", "choice"))
        }
        self.assertTrue(all(kinds.values()), kinds)
        for attribute in root.iter(f"{rng}attribute"):
            (reference,) = attribute
            self.assertIn(reference.get("name"), kinds)

    def test_the_schema_in_etc_is_the_one_in_use(self) -> None:
        """
        Operators point their editors at C{etc/sipxha.rng}.
        """
        published = Path(__file__).parents[2] / "etc" / "sipxha.rng"
        self.assertEqual(published.read_bytes(), SCHEMA.read_bytes())
