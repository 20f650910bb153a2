"""
Tests for L{sipxha.registry.validate}.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.validate import INT32, INT64, LATEST, LIMITS, RowRefused, validate
from tests.registry.rows import a_row


class ValidateTests(SynchronousTestCase):
    """
    What is no row is refused wherever it comes from.
    """

    def assertRefused(self, column: str, **columns: Any) -> None:
        """
        Check that the column is named.
        """
        refused = self.assertRaises(RowRefused, validate, a_row(**columns))
        self.assertEqual((refused.column, refused.status), (column, 400))

    def test_an_ordinary_row_passes(self) -> None:
        """
        Optional columns may be empty.
        """
        validate(a_row(received=""))

    def test_texts_up_to_their_limit_pass(self) -> None:
        """
        Each column has its own limit, whatever the others hold.
        """
        for column, limit in LIMITS.items():
            validate(a_row(**{column: "x" * limit}))
            self.assertRefused(column, **{column: "x" * (limit + 1)})

    def test_what_names_a_row_is_never_empty(self) -> None:
        """
        Identity, contact, Call-ID and primary.
        """
        for column in ("identity", "contact", "callid", "primary"):
            self.assertRefused(column, **{column: ""})

    def test_what_the_wire_cannot_carry_is_refused_in_every_column(self) -> None:
        """
        TAB separates columns; the others are not XML 1.0, or bytes that are
        not UTF-8.
        """
        for column in LIMITS:
            for character in "\x00\t\n\r\x1f\udc80\ufffe\uffff":
                self.assertRefused(column, **{column: f"<{character}>"})

    def test_numbers_stay_in_range(self) -> None:
        """
        At both ends.
        """
        for column, most in (("cseq", INT32), ("expires", LATEST), ("update_number", INT64)):
            validate(a_row(**{column: 0}))
            validate(a_row(**{column: most}))
            self.assertRefused(column, **{column: -1})
            self.assertRefused(column, **{column: most + 1})

    def test_a_flow_needs_an_instance(self) -> None:
        """
        O03: reg-id means nothing alone.
        """
        validate(a_row(reg_id=1, instance_id="<urn:uuid:1>"))
        self.assertRefused("reg_id", reg_id=1)
        self.assertRefused("reg_id", reg_id=-1, instance_id="<urn:uuid:1>")
        self.assertRefused("reg_id", reg_id=INT32 + 1, instance_id="<urn:uuid:1>")

    @given(st.text(min_size=1, max_size=30))
    def test_what_passes_survives_xml(self, text: str) -> None:
        """
        Every text that is let through can be written and read back.
        """
        try:
            validate(a_row(contact=text))
        except RowRefused:
            return
        element = etree.Element("string")
        element.text = text
        self.assertEqual(etree.fromstring(etree.tostring(element)).text, text)
