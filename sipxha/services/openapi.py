"""
The description of what the console answers, as an OpenAPI 3.1 document.

It says what is there and of which form, and nothing of how it comes about;
C{tests/services/test_openapi.py} holds the answers of a node against it, and
C{make interop} has schemathesis do so.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, get_type_hints

from sipxha.cdr.live import RINGING, TALKING
from sipxha.registry.binding import Binding
from sipxha.services.drain import LIMIT, MOST_LIMIT
from sipxha.services.reload import CHANGED, REFUSED, RESTART, UNCHANGED
from sipxha.sync.link import State

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_NAMES: Schema = {"type": "array", "items": _TEXT}


def _maybe(schema: Schema) -> Schema:
    """
    The same, or null.
    """
    return {**schema, "type": [schema["type"], "null"]}


def _object(description: str, **properties: Schema) -> Schema:
    """
    An object that has all of these, and no others.
    """
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_RESOLVER = _object(
    "The last pass of the call resolver.",
    last_pass=_maybe(_TIME),
    open_calls=_maybe(_COUNT),
    read_to={"type": "object", "additionalProperties": _maybe(_TIME)},
    missing={"type": "object", "additionalProperties": _TEXT},
    skews=_object(
        "Clocks that differ, as far as passes have seen.",
        by_clock={"type": "object", "additionalProperties": _NUMBER},
        by_events={
            "type": "array",
            "items": _object("Two hosts.", ahead=_TEXT, behind=_TEXT, seconds=_NUMBER, seen=_TIME),
        },
    ),
)

_COLUMNS: dict[str, Schema] = {
    name: {"type": "integer"} if kind is int else _TEXT
    for name, kind in get_type_hints(Binding).items()
    if name != "deadline"
}

SCHEMAS: dict[str, Schema] = {
    "Status": _object(
        "The node as a whole.",
        node=_TEXT,
        ready=_FLAG,
        degraded=_FLAG,
        trouble=_maybe(_TEXT),
        started=_TIME,
        users=_COUNT,
        registrations=_COUNT,
        changes=_COUNTS,
        refusals=_COUNTS,
        shed=_COUNTS,
        emergency_calls=_COUNT,
        update_number=_maybe(_COUNT),
        peers=_COUNT,
        peers_reachable=_COUNT,
        unacknowledged=_COUNT,
        call_resolver={"anyOf": [{"type": "object", "maxProperties": 0}, _RESOLVER]},
        transactions=_COUNTS,
    ),
    "Peer": _object(
        "A registrar that this node replicates with.",
        name=_TEXT,
        state={"type": "string", "enum": [state.value for state in State]},
        since=_TIME,
        sent={"type": "integer"},
        received={"type": "integer"},
        behind=_COUNT,
        lag=_NUMBER,
        round_trip=_maybe(_NUMBER),
        dialect=_TEXT,
        users=_maybe(_TEXT),
        differs=_NAMES,
        last_error=_maybe(_TEXT),
        next_try=_maybe(_TIME),
        certificate_end=_maybe(_TIME),
    ),
    "Registration": _object("A current binding.", **{**_COLUMNS, "expires": _TIME}),
    "Users": _object(
        "Which users the node goes by.", version=_maybe(_TEXT), users=_COUNT, trouble=_maybe(_TEXT)
    ),
    "Calls": _object(
        "The calls that are not over.",
        calls={"type": "array", "items": {"$ref": "#/components/schemas/Call"}},
        missing={
            "type": "object",
            "description": "Why a node's calls are not among them, by its name.",
            "additionalProperties": _TEXT,
        },
    ),
    "Call": _object(
        "A call that rings or is talked in; its duration is that since the answer, in seconds.",
        call_id=_TEXT,
        state={"type": "string", "enum": [RINGING, TALKING]},
        caller_aor=_TEXT,
        callee_aor=_TEXT,
        start_time=_maybe(_TIME),
        connect_time=_maybe(_TIME),
        duration=_maybe(_NUMBER),
        caller_contact=_maybe(_TEXT),
        callee_contact=_maybe(_TEXT),
        caller_transport=_maybe(_TEXT),
        callee_transport=_maybe(_TEXT),
        caller_internal=_maybe(_FLAG),
        observers=_NAMES,
    ),
    "Health": _object("The process turns.", healthy={"type": "boolean", "enum": [True]}),
    "Readiness": _object("Whether SIP is open, and nothing missing.", ready=_FLAG, degraded=_FLAG),
    "Error": _object("Why not.", error=_TEXT),
    "Outcome": _object(
        "What became of one part.",
        what=_TEXT,
        result={"type": "string", "enum": [CHANGED, UNCHANGED, REFUSED, RESTART]},
        detail=_TEXT,
    ),
    "Drained": _object(
        "What was left when the node ended.", seconds=_NUMBER, unanswered=_COUNT, behind=_COUNT
    ),
    "Contact": _object(
        "A contact of a user; '*' to unregister means all.",
        user={"type": "string", "description": "USER, or USER@DOMAIN."},
        contact={"type": "string", "description": "A SIP URI, in brackets if parameters follow."},
    ),
    "Row": {
        "type": "array",
        "description": f"A row of the registry: {', '.join(_COLUMNS)}.",
        "prefixItems": list(_COLUMNS.values()),
        "items": False,
        "minItems": len(_COLUMNS),
    },
}


def document() -> Schema:
    """
    Make the document.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sipxha",
            "version": version("sipxha"),
            "description": (
                "What a running node answers, on the address of <console> and on data/control.sock."
                " What changes something (POST) is there on the control socket alone, which only the"
                " node's own user can open."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "paths": {
            "/status": _question("status", "How the node is.", _ref("Status")),
            "/peers": _question("peers", "The registrars that it replicates with.", _list("Peer")),
            "/users": _question("users", "Which users it goes by.", _ref("Users")),
            "/calls": _question("calls", "The calls that are not over, on all nodes.", _ref("Calls")),
            "/registrations": _question(
                "registrations",
                "Who is registered, and where.",
                _list("Registration"),
                {
                    "name": "user",
                    "in": "query",
                    "description": "USER or USER@DOMAIN; all without.",
                    "schema": _TEXT,
                },
            ),
            "/healthz": _question("healthz", "200 as long as the process turns.", _ref("Health")),
            "/readyz": _readyz(),
            "/metrics": _metrics(),
            "/openapi.json": _question("openapi", "This document.", {"type": "object"}),
            "/register": _action("register", "Bind a contact to a user.", _ref("Contact"), _COUNT),
            "/unregister": _action("unregister", "End a contact of a user.", _ref("Contact"), _COUNT),
            "/import": _action(
                "import",
                "Take over rows of another registrar; tells of each whether it was news.",
                _list("Row"),
                {"type": "array", "items": _FLAG},
            ),
            "/reload": _action("reload", "Read all files again.", {"type": "object"}, _list("Outcome")),
            "/drain": _action(
                "drain",
                "End the node without cutting anything off; answers when it may end.",
                {
                    "type": "object",
                    "properties": {
                        "limit": {"type": "number", "minimum": 0, "maximum": MOST_LIMIT, "default": LIMIT}
                    },
                },
                _ref("Drained"),
            ),
        },
        "components": {"schemas": SCHEMAS},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _question(name: str, summary: str, schema: Schema, *parameters: Schema) -> Schema:
    operation: Schema = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _answer(summary, schema)},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    return {"get": operation}


def _readyz() -> Schema:
    path = _question("readyz", "200 when the node serves.", _ref("Readiness"))
    path["get"]["responses"]["503"] = _answer("It does not serve yet, or ends.", _ref("Readiness"))
    return path


def _metrics() -> Schema:
    return {
        "get": {
            "operationId": "metrics",
            "summary": "The node in numbers, in the text format of Prometheus.",
            "responses": {
                "200": {"description": "All metrics.", "content": {"text/plain": {"schema": _TEXT}}}
            },
        }
    }


def _action(name: str, summary: str, posted: Schema, answered: Schema) -> Schema:
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": posted}}},
            "responses": {
                "200": _answer("It is done.", answered),
                "400": _answer("What was posted cannot be used.", _ref("Error")),
                "404": _answer("Not on this address: it is there on the control socket.", _ref("Error")),
                "503": _answer("It cannot be done now.", _ref("Error")),
            },
        }
    }
