"""
Whether a value is what a schema says: as much of JSON Schema as our own
document of the console uses, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

KNOWN = frozenset(
    [
        "$ref",
        "type",
        "description",
        "enum",
        "format",
        "default",
        "minimum",
        "maximum",
        "anyOf",
        "properties",
        "required",
        "additionalProperties",
        "maxProperties",
        "items",
        "prefixItems",
        "minItems",
    ]
)


class UnknownKeyword(Exception):
    """
    A schema says what is not understood here.
    """


def faults(value: Any, schema: dict[str, Any], schemas: dict[str, Any], place: str = "$") -> Iterator[str]:
    """
    What is wrong with a value.

    @param schemas: Those that others refer to, by name.

    @raise UnknownKeyword: It would be passed over in silence.
    """
    if unknown := schema.keys() - KNOWN:
        raise UnknownKeyword(f"{place}: {sorted(unknown)}")
    if "$ref" in schema:
        yield from faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, place)
        return
    if "anyOf" in schema:
        found = [[*faults(value, each, schemas, place)] for each in schema["anyOf"]]
        if all(found):
            yield from found[-1]
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_is_a(value, kind) for kind in kinds):
        yield f"{place}: {value!r} is no {' or '.join(kinds)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    if schema.get("format") == "date-time" and value is not None and not _is_moment(value):
        yield f"{place}: {value!r} is no time"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        yield f"{place}: {value!r} is out of range"
    if isinstance(value, dict):
        yield from _in_object(value, schema, schemas, place)
    elif isinstance(value, list):
        yield from _in_array(value, schema, schemas, place)


def _in_object(
    value: dict[str, Any], schema: dict[str, Any], schemas: dict[str, Any], place: str
) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    yield from (f"{place}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{place}: too many members"
    for name, member in value.items():
        if name in properties:
            yield from faults(member, properties[name], schemas, f"{place}.{name}")
        elif others is False:
            yield f"{place}: {name} is not described"
        elif others is not True:
            yield from faults(member, others, schemas, f"{place}.{name}")


def _in_array(value: list[Any], schema: dict[str, Any], schemas: dict[str, Any], place: str) -> Iterator[str]:
    first, rest = schema.get("prefixItems", []), schema.get("items", {})
    if len(value) < schema.get("minItems", 0):
        yield f"{place}: too short"
    for number, item in enumerate(value):
        if number < len(first):
            yield from faults(item, first[number], schemas, f"{place}[{number}]")
        elif rest is False:
            yield f"{place}: too long"
        else:
            yield from faults(item, rest, schemas, f"{place}[{number}]")


def _is_a(value: Any, kind: str) -> bool:
    # JSON has truth values that are no numbers.
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_moment(value: str) -> bool:
    try:
        return value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
