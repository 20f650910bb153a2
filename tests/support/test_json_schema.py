"""
Tests for L{tests.support.json_schema}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.json_schema import UnknownKeyword, faults

COUNT = {"type": "integer", "minimum": 0}
SCHEMAS = {"Count": COUNT}


class FaultsTests(SynchronousTestCase):
    """
    Tests for what is found wrong.
    """

    def assert_faults(self, count: int, value: Any, schema: dict[str, Any]) -> None:
        """
        So many are.
        """
        found = [*faults(value, schema, SCHEMAS)]
        self.assertEqual(len(found), count, found)

    def test_each_keyword_finds_what_it_is_for(self) -> None:
        """
        And lets pass what is right.
        """
        maybe = {"type": ["string", "null"], "format": "date-time"}
        thing = {
            "type": "object",
            "properties": {"a": COUNT},
            "required": ["a"],
            "additionalProperties": False,
        }
        for schema, right, wrong in (
            (COUNT, 0, -1),
            (COUNT, 1, True),
            (COUNT, 1, 1.5),
            ({"type": "number", "maximum": 3}, 3, 4),
            ({"$ref": "#/components/schemas/Count"}, 5, "5"),
            (maybe, None, "yesterday"),
            (maybe, "2026-11-22T05:14:00Z", "2026-11-22T05:14:00"),
            ({"type": "boolean", "enum": [True]}, True, False),
            (thing, {"a": 1}, {}),
            (thing, {"a": 1}, {"a": 1, "b": 1}),
            (thing, {"a": 1}, {"a": None}),
            ({"type": "object", "additionalProperties": COUNT}, {"x": 1}, {"x": "1"}),
            ({"type": "object", "maxProperties": 0}, {}, {"x": 1}),
            ({"anyOf": [COUNT, maybe]}, 1, -1),
            ({"type": "array", "items": COUNT}, [1, 2], [1, "2"]),
            ({"type": "array", "prefixItems": [COUNT], "items": False}, [1], [1, 2]),
            ({"type": "array", "prefixItems": [COUNT], "minItems": 1}, [1], []),
        ):
            self.assert_faults(0, right, schema)
            self.assert_faults(1, wrong, schema)

    def test_what_it_does_not_know_is_not_passed_over(self) -> None:
        """
        It would hold for everything.
        """
        self.assertRaises(UnknownKeyword, list, faults(1, {"type": "integer", "multipleOf": 2}, {}))
