"""
How an event of the log reads, as text or as JSON.

The text is that of the event, and nothing in it can be taken for more than
that: what strangers send stays within its line, and a terminal obeys none of
it.  Where lines go is for others to say.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent, formatTime

_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
"""What could break a line of the log or be obeyed by a terminal."""

_NAMES = {"callid": "call_id", "identity": "aor"}
"""What fields are called in JSON, where different lines have different names for one thing."""

_HEAD = ("time", "level", "logger", "message", "traceback")
"""What stands in every object, or may; a field of such a name is in the message alone."""


def text_entry(event: LogEvent) -> str:
    """
    An event as a line for people, with its time and level.
    """
    return f"{_second(int(event['log_time']))} {_level(event)} {log_line(event)}\n"


@lru_cache(1)
def _second(when: int) -> str:
    # Hundreds of lines may be of one second, and a time costs more than half of a line.
    return formatTime(when)


def json_entry(event: LogEvent) -> str:
    """
    An event as one JSON object on one line: C{time} (UTC), C{level},
    C{logger}, C{message}, C{traceback} if there is one, and the fields of the
    message, such as C{call_id}, C{peer} and C{aor}.
    """
    moment = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {
        "time": moment.replace("+00:00", "Z"),
        "level": _level(event),
        "logger": event.get("log_namespace") or "",
        "message": _decoded(formatEvent(event)),
    }
    failure = event.get("log_failure")
    if failure is not None:
        entry["traceback"] = _decoded(failure.getTraceback().rstrip())
    for name, value in event.items():
        if not name.startswith("log_") and name not in _HEAD:
            plain = value is None or isinstance(value, bool | int | float)
            entry[_NAMES.get(name, name)] = value if plain else _decoded(str(value))
    # Escaped, so that an object is one line of ASCII whatever strangers send.
    return json.dumps(entry) + "\n"


def _level(event: LogEvent) -> str:
    return str(event.get("log_level", LogLevel.info).name)


def _decoded(text: str) -> str:
    # Bytes of a message that are no UTF-8 travel as surrogates, which JSON cannot have.
    return text.encode("utf-8", "backslashreplace").decode()


def log_line(event: LogEvent) -> str:
    """
    The text of an event; a traceback follows it, each line indented.
    """
    text = formatEvent(event).translate(_UNPRINTABLE)
    failure = event.get("log_failure")
    if failure is not None:
        trace = failure.getTraceback().rstrip().splitlines()
        text = "\n\t".join([text, *(line.translate(_UNPRINTABLE) for line in trace)])
    # Bytes of a message that are no UTF-8 travel as surrogates.
    return text.encode("utf-8", "backslashreplace").decode()
