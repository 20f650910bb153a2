"""
Tests for L{sipxha.services.openapi}; a real node is held against the document
in C{tests/system/test_console.py}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.calls import COLUMNS as CALL_COLUMNS
from sipxha.cli.status import PEER_COLUMNS, REGISTRATION_COLUMNS, STATUS_COLUMNS
from sipxha.services import console
from sipxha.services.openapi import SCHEMAS, document


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """
    All objects in a document.
    """
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from parts(each)


class DocumentTests(SynchronousTestCase):
    """
    Tests for what the document says.
    """

    def test_every_reference_leads_somewhere(self) -> None:
        """
        And every schema is referred to.
        """
        targets = {part["$ref"] for part in parts(document()) if "$ref" in part}
        self.assertEqual(targets, {f"#/components/schemas/{name}" for name in SCHEMAS})

    def test_it_is_json_and_every_operation_has_its_name(self) -> None:
        """
        Of which programs make functions.
        """
        described = json.loads(json.dumps(document()))
        names = [part["operationId"] for part in parts(described["paths"]) if "operationId" in part]
        self.assertEqual(len(set(names)), len(described["paths"]))

    def test_the_pages_of_the_console_are_described_and_no_others(self) -> None:
        """
        By the list in its docstring.
        """
        listed = set(re.findall(r"^    GET (/[\w.]+)", console.__doc__ or "", re.MULTILINE))
        described = {path for path, operations in document()["paths"].items() if "get" in operations}
        self.assertEqual(listed, described)

    def test_the_command_shows_all_that_is_described(self) -> None:
        """
        In its columns.
        """
        for name, columns in (
            ("Status", STATUS_COLUMNS),
            ("Peer", PEER_COLUMNS),
            ("Registration", REGISTRATION_COLUMNS),
            ("Call", CALL_COLUMNS),
        ):
            self.assertEqual(set(SCHEMAS[name]["properties"]), set(columns), name)
