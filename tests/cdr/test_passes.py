"""
Made-up calls through many passes: whatever happens to their rows on the way,
their records are the truth.

What a pass does with a database is done here with dicts: what L{Ledger} wants
kept is kept, and a lesser record never replaces one that was made of more
events.  L{sipxha.services.call_resolver} keeps the same contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.ledger import Ledger
from sipxha.cdr.record import Cdr
from sipxha.cdr.resolve import resolve
from tests.support.made_calls import BEGIN, MadeCall, MadeHost, made_calls

AFTER_ALL = BEGIN + 1_000_000.0

SKEWS = st.sampled_from([-40.0, -0.2, 0.0, 0.2, 3.0, 40.0])


class Books:
    """
    All that outlives a pass.
    """

    def __init__(self) -> None:
        self.read: dict[str, set[CallStateEvent]] = {}
        self.records: dict[str, Cdr] = {}
        self.kept: list[CallStateEvent] = []

    def run_pass(
        self, pages: Sequence[Sequence[CallStateEvent]], as_of: float | None, read_to: float = AFTER_ALL
    ) -> None:
        """
        Resolve what was read, and settle what can be after each page.
        """
        ledger = Ledger()
        ledger.restore(self.kept)
        for page in pages:
            for event in page:
                self.read.setdefault(event.call_id, set()).add(event)
            ledger.take(page)
            if page is not pages[-1]:
                self._resolve(ledger, ledger.settling(read_to), as_of, read_to)
        self._resolve(ledger, ledger.changed(as_of), as_of, read_to)
        ledger.settle(read_to)
        left = ledger.leftover()
        assert not left.late
        self.kept = [event for event in self.kept if event.call_id not in left.forget] + left.keep

    def _resolve(self, ledger: Ledger, chosen: list[str], as_of: float | None, read_to: float) -> None:
        partial = ledger.partial(chosen)
        for call_id in partial:
            if call_id in self.records:
                ledger.take(self.read[call_id])
        ledger.complete(partial)
        for record in ledger.resolve(chosen, as_of):
            stored = self.records.get(record.call_id)
            if stored is None or stored.events <= record.events:
                self.records[record.call_id] = record
        ledger.settle(read_to, chosen)


def _calls(seed: int, ahead: float) -> list[MadeCall]:
    return list(made_calls(Random(seed), 6, (MadeHost("10.1.1.50"), MadeHost("10.1.2.50", ahead))))


def _untimed(records: dict[str, Cdr]) -> list[Cdr]:
    return sorted(record._replace(as_of=None) for record in records.values())


class TruthTests(SynchronousTestCase):
    """
    What was made up is what comes out.
    """

    @given(st.integers(0, 1 << 30), SKEWS, st.randoms(use_true_random=False))
    def test_whatever_the_order_and_the_clocks(self, seed: int, ahead: float, chance: Random) -> None:
        """
        Each record is the truth, from any permutation of events with repetitions.
        """
        for call in _calls(seed, ahead):
            events = [seen.event for seen in call.seen]
            events += chance.choices(events, k=chance.randrange(4))
            chance.shuffle(events)
            self.assertEqual(resolve(events), call.truth)
            self.assertEqual(resolve(events, AFTER_ALL)._replace(as_of=None), call.judged)

    @settings(max_examples=60)
    @given(st.integers(0, 1 << 30), SKEWS, st.randoms(use_true_random=False))
    def test_whatever_each_pass_reads(self, seed: int, ahead: float, chance: Random) -> None:
        """
        Rows come in any order, some again and again, cut into passes and pages anywhere;
        and time seems to have decided, or to have settled, whatever it likes meanwhile.
        """
        calls = _calls(seed, ahead)
        events = [seen.event for call in calls for seen in call.seen]
        events += chance.choices(events, k=10)
        chance.shuffle(events)
        books = Books()
        while events:
            pages = []
            for _ in range(chance.randrange(1, 3)):
                size = chance.randrange(1, 8)
                pages.append(events[:size])
                events = events[size:]
            moments = (None, BEGIN, BEGIN + 300.0, AFTER_ALL)
            books.run_pass(pages, chance.choice(moments), chance.choice(moments) or AFTER_ALL)
        books.run_pass([[]], AFTER_ALL)
        self.assertEqual(_untimed(books.records), sorted(call.judged for call in calls))
        self.assertEqual(books.kept, [])
        # And again: nothing changes.
        books.run_pass([list(books.read[call.truth.call_id]) for call in calls], AFTER_ALL)
        self.assertEqual(_untimed(books.records), sorted(call.judged for call in calls))
