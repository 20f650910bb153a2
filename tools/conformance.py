"""
Writes the part of docs/conformance.md that the suite knows better than any
writer: what becomes of each message of RFC 4475, and what a running node
answers to it.

    python -m tools.conformance

The rest of the page is written by hand; C{tests/test_conformance.py} compares
all of it with the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sip.verdicts import ANSWERS, VERDICTS, Verdict

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
BEGIN = "<!-- begin: written by python -m tools.conformance -->\n"
END = "<!-- end -->\n"


def told(verdict: Verdict) -> str:
    """
    A verdict in the words of the page.
    """
    match verdict.outcome:
        case "answered":
            return f"answered {verdict.status}"
        case "field":
            return f"accepted; {verdict.status} by whoever needs the malformed field"
        case outcome:
            return outcome


def table() -> str:
    """
    The verdicts as a Markdown table, in the order of the RFC.
    """
    rows = [
        "| section | message | as a datagram it is | proxy | registrar |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, verdict in VERDICTS.items():
        answers = ANSWERS[name]
        cells = (
            verdict.section or "not of the RFC",
            f"`{name}`",
            told(verdict),
            str(answers.proxy or "nothing"),
            str(answers.registrar or "nothing"),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def with_verdicts(page: str) -> str:
    """
    The page with the verdicts of this moment between the markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return "".join((head, BEGIN, table(), END, tail))


def main() -> int:
    """
    @return: the exit status.
    """
    PAGE.write_text(with_verdicts(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
