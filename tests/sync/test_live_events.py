"""
Tests for L{sipxha.sync.live_events}.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.sync import rpc, wire
from sipxha.sync.live_events import CALLS, read_event, read_events, write_call, write_events
from tests.cdr import calls


def sent(events: list[CallStateEvent]) -> list[CallStateEvent]:
    """
    What arrives at the other end.
    """
    reader = wire.RowReader(read_event)
    for piece in write_events(events):
        reader.feed(piece)
    return read_events(reader.close())


class WireTests(SynchronousTestCase):
    """
    Tests for events on their way.
    """

    def test_the_question_names_who_asks(self) -> None:
        """
        As all calls do.
        """
        self.assertEqual(rpc.caller_of(write_call("sipx1.example.com")), "sipx1.example.com")
        self.assertTrue(CALLS.startswith("registrarSync2."))

    @given(st.lists(st.text(), max_size=5))
    def test_events_arrive_as_they_were(self, texts: list[str]) -> None:
        """
        Whatever strangers wrote into them: lone surrogates and control characters too.
        """
        events = [calls.requested(from_url=text, contact=text) for text in texts]
        self.assertEqual(sent(events), events)
        self.assertEqual(sent([]), [])

    def test_what_is_no_event_is_refused(self) -> None:
        """
        Each of these would break who believed it.
        """
        good = [*calls.requested()]
        wrong: tuple[tuple[int, Any], ...] = (
            (0, None),
            (1, "1"),
            (2, "now"),
            (3, "X"),
            (5, ""),
            (5, 7),
            (8, None),
            (13, "486"),
            (2, 1e999),
        )
        for place, value in wrong:
            self.refused(wire_text([*good[:place], value, *good[place + 1 :]]))
        for row in ({}, {"event": 7}, {"event": "{"}, {"event": "[]"}, {"event": "[" * 100_000}):
            self.refused(row)

    def refused(self, row: Any) -> None:
        """
        It is a fault.
        """
        with self.assertRaises(wire.Fault) as caught:
            read_event(row)
        self.assertEqual(caught.exception.code, rpc.INVALID_PARAMETER)

    def test_an_answer_of_something_else_is_malformed(self) -> None:
        """
        It may come from any program.
        """
        answers: tuple[Any, ...] = (None, {}, {"events": "x"}, {"events": ["x"]}, [])
        for answer in answers:
            self.assertRaises(rpc.Malformed, read_events, answer)


def wire_text(values: list[Any]) -> dict[str, wire.Value]:
    """
    A row of these values.
    """
    return {"event": json.dumps(values)}
