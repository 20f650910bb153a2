"""
How an event of the log reads.

The text is that of the event, and nothing in it can be taken for more than
that: what strangers send stays within its line, and a terminal obeys none of
it.  Where lines go, and what stands before them, is for others to say.
"""

from __future__ import annotations

from twisted.logger import LogEvent, formatEvent

_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
"""What could break a line of the log or be obeyed by a terminal."""


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
