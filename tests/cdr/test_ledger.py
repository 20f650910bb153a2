"""
Tests for L{sipxha.cdr.ledger}.
"""

from math import inf
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.cdr.ledger import SETTLED_AFTER, Ledger, Leftover
from sipxha.cdr.record import Cdr
from sipxha.cdr.resolve import Limits
from tests.cdr import calls


def _resolved(ledger: Ledger, as_of: float | None) -> list[Cdr]:
    """
    The records of calls that were never dropped.
    """
    changed = ledger.changed(as_of)
    ledger.complete(ledger.partial(changed))
    return ledger.resolve(changed, as_of)


def _left(ledger: Ledger, read_to: float = -inf) -> Leftover:
    """
    What is to be saved when the hosts were read to a moment.
    """
    ledger.settle(read_to)
    return ledger.leftover()


class LedgerTests(SynchronousTestCase):
    """
    Tests for the calls that may yet change.
    """

    def test_only_calls_with_news_are_resolved(self) -> None:
        """
        A duplicate of what is known is no news to what is kept.
        """
        ledger = Ledger()
        ledger.take([calls.requested(), calls.requested(call_id="other")])
        self.assertEqual(len(_resolved(ledger, None)), 2)
        self.assertEqual(_resolved(ledger, None), [])
        ledger.take([calls.set_up(), calls.set_up()])
        (record,) = _resolved(ledger, None)
        self.assertEqual((record.call_id, record.events, record.termination), ("call-1@10.1.1.7", 2, "I"))
        self.assertEqual(ledger.terminations, {"R": 1, "I": 1})

    def test_an_open_call_is_kept(self) -> None:
        """
        Each of its events once.
        """
        ledger = Ledger()
        ledger.take([calls.requested()])
        _resolved(ledger, 110.0)
        self.assertEqual(_left(ledger, 110.0), ([calls.requested()], [], []))
        ledger.take([calls.set_up()])
        _resolved(ledger, 110.0)
        self.assertEqual(_left(ledger, 110.0), ([calls.set_up()], [], []))
        self.assertEqual(len(ledger), 1)

    def test_an_ended_call_is_dropped_when_all_hosts_are_past_it(self) -> None:
        """
        And what was kept of it forgotten.
        """
        ledger = Ledger()
        ledger.restore([calls.requested(), calls.set_up()])
        ledger.take([calls.ended(160.0)])
        _resolved(ledger, None)
        self.assertEqual(_left(ledger), ([calls.ended(160.0)], [], []))
        self.assertEqual(_left(ledger, 160.0 + SETTLED_AFTER), ([], [], []))
        self.assertEqual(_left(ledger, 160.1 + SETTLED_AFTER), ([], ["call-1@10.1.1.7"], []))
        self.assertEqual(len(ledger), 0)

    def test_calls_that_changed_may_wait_for_more(self) -> None:
        """
        Those for which no more is likely to come are named, and dropped when they prove to be over.
        """
        ledger = Ledger()
        ledger.take([calls.requested(), calls.set_up(), calls.ended(160.0)])
        ledger.take([calls.requested(call_id="open"), calls.requested(170.0, call_id="new")])
        moment = 160.1 + SETTLED_AFTER
        chosen = ledger.settling(moment)
        self.assertEqual(sorted(chosen), ["call-1@10.1.1.7", "open"])
        ledger.complete(ledger.partial(chosen))
        ledger.resolve(chosen, moment)
        # What is read meanwhile of one of them keeps it here.
        ledger.take([calls.set_up(call_id="open")])
        ledger.settle(moment, chosen)
        self.assertEqual(sorted(ledger.changed(None)), ["new", "open"])
        self.assertEqual(len(ledger), 2)

    def test_a_call_that_came_and_went_between_two_commits_is_not_kept(self) -> None:
        """
        Old events leave nothing behind.
        """
        ledger = Ledger()
        ledger.take([calls.requested(), calls.set_up(), calls.ended()])
        _resolved(ledger, 1000.0)
        self.assertEqual(_left(ledger, 1000.0), ([], [], []))

    def test_time_decides_without_news(self) -> None:
        """
        A call that rings too long gets its record when its time is over.
        """
        ledger = Ledger(Limits(max_ringing=120.0))
        ledger.take([calls.requested(100.0)])
        self.assertEqual([record.termination for record in _resolved(ledger, 220.0)], ["R"])
        self.assertEqual(_resolved(ledger, 220.0), [])
        self.assertEqual([record.termination for record in _resolved(ledger, 220.1)], ["F"])
        self.assertEqual(_resolved(ledger, 9999.0), [])
        self.assertEqual(+ledger.terminations, {"F": 1})

    def test_a_call_that_is_not_whole_is_kept_apart(self) -> None:
        """
        Its other events, dropped when it was settled, could not be looked up again.
        """
        ledger = Ledger()
        ledger.restore([calls.requested()], is_whole=False)
        ledger.take([calls.ended(), calls.set_up(call_id="new")])
        self.assertEqual(sorted(ledger.partial(["call-1@10.1.1.7", "new"])), ["call-1@10.1.1.7", "new"])
        ledger.complete(["new"])
        ledger.resolve(["call-1@10.1.1.7", "new"], 9999.0)
        self.assertEqual(_left(ledger, 9999.0), ([calls.set_up(call_id="new")], [], [calls.ended()]))

    def test_clocks_that_disagree_are_noted(self) -> None:
        """
        The greatest figure of each pair.
        """
        ledger = Ledger()
        ledger.take(
            [
                calls.requested(100.0),
                calls.set_up(63.0, observer=calls.AUTH_2),
                calls.requested(100.0, call_id="other"),
                calls.set_up(60.0, call_id="other", observer=calls.AUTH_2),
            ]
        )
        _resolved(ledger, None)
        self.assertEqual(ledger.skews, {("10.1.1.50", "10.1.2.50"): 40.0})

    def test_a_call_that_cannot_be_resolved_costs_itself(self) -> None:
        """
        Its events are kept for the day on which it can.
        """
        ledger = Ledger()
        broken = calls.set_up(call_id="broken")._replace(from_url=cast(str, None))
        ledger.take([broken, calls.requested()])
        self.assertEqual([record.call_id for record in _resolved(ledger, 9999.0)], ["call-1@10.1.1.7"])
        self.assertEqual(list(ledger.unresolved), ["broken"])
        kept: list[CallStateEvent] = _left(ledger, 9999.0).keep
        self.assertIn(broken, kept)
