"""
Tests for L{sipxha.transaction.alarms}.
"""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.transaction.alarms import Alarm, Alarms
from sipxha.transaction.vocabulary import Timer

DURATIONS = (0.5, 1.0, 4.0, 32.0)


class AlarmsTests(SynchronousTestCase):
    """
    Tests for L{Alarms}.
    """

    def setUp(self) -> None:
        self.alarms: Alarms[str] = Alarms()

    def start(self, owner: str, seconds: float, now: float = 0.0) -> Alarm[str]:
        return self.alarms.start(owner, Timer.A, seconds, now)

    def due(self, now: float) -> list[str]:
        return [owner for owner, _ in self.alarms.due(now)]

    def test_they_go_off_once_when_their_time_has_come(self) -> None:
        """
        Not before.
        """
        self.start("late", 4.0)
        self.start("soon", 0.5)
        self.assertEqual(self.alarms.next_deadline(), 0.5)
        self.assertEqual((self.due(0.4), self.due(0.5), self.due(0.5)), ([], ["soon"], []))
        self.assertEqual((self.alarms.next_deadline(), self.due(100.0)), (4.0, ["late"]))
        self.assertEqual((self.alarms.next_deadline(), self.alarms.running), (None, 0))

    def test_one_that_was_stopped_does_not(self) -> None:
        """
        The next deadline may still be its own, then nothing happens.
        """
        first = self.start("first", 0.5)
        self.start("second", 1.0)
        self.alarms.stop(first)
        self.assertEqual((self.alarms.running, self.due(0.5)), (1, []))
        self.assertEqual((self.alarms.next_deadline(), self.due(1.0)), (1.0, ["second"]))

    def test_a_clock_that_is_set_back_delays_no_new_one(self) -> None:
        """
        Though older ones of the same duration wait.
        """
        self.start("old", 0.5, now=1000.0)
        self.start("new", 0.5, now=10.0)
        self.start("newer", 0.5, now=11.0)
        self.assertEqual((self.due(10.5), self.due(11.5), self.due(1000.5)), (["new"], ["newer"], ["old"]))

    def test_others_may_be_started_and_stopped_meanwhile(self) -> None:
        """
        By those who are told, and however many.
        """
        self.start("first", 0.5)
        stopped = self.start("stopped", 0.5)
        told = []
        for owner, _ in self.alarms.due(2.0):
            told.append(owner)
            if owner == "first":
                self.alarms.stop(stopped)
                for _ in range(3000):
                    self.alarms.stop(self.start("never", 0.5, now=2.0))
                self.start("next", 0.5, now=2.0)
        self.assertEqual(told, ["first"])
        self.assertEqual((self.alarms.next_deadline(), self.due(2.5)[-1]), (2.5, "next"))

    def test_those_that_were_stopped_leave_nothing_behind(self) -> None:
        """
        Most are stopped long before their time.
        """
        self.start("stays", 32.0)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(1000):
            self.alarms.stop(self.start("goes", 32.0))
        self.assertLess(len(gc.get_objects()) - before, 10)

    def test_an_exception_of_who_is_told_loses_none(self) -> None:
        """
        The others go off the next time.
        """
        for number in range(3):
            self.start(str(number), 0.5)
        with self.assertRaises(ZeroDivisionError):
            for _ in self.alarms.due(1.0):
                _ = 1 // 0
        self.assertEqual((self.alarms.next_deadline(), self.due(1.0)), (0.5, ["1", "2"]))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["start", "stop", "time", "back"]),
                st.integers(0, 30),
                st.sampled_from(DURATIONS),
            ),
            max_size=60,
        )
    )
    def test_each_goes_off_as_in_a_plain_list(self, acts: list[tuple[str, int, float]]) -> None:
        """
        Whatever is started, stopped and waited for, in whatever order, and even
        when the clock goes back.
        """
        alarms: Alarms[int] = Alarms()
        plain: dict[int, Alarm[int]] = {}
        now = 1000.0
        for serial, (act, number, seconds) in enumerate(acts):
            if act == "start":
                plain[serial] = alarms.start(serial, Timer.E, seconds, now)
            elif act == "stop" and plain:
                alarms.stop(plain.pop(list(plain)[number % len(plain)]))
            elif act == "back":
                now -= number
            else:
                now += number / 4
                expected = {owner for owner, alarm in plain.items() if alarm.deadline <= now}
                self.assertEqual({owner for owner, _ in alarms.due(now)}, expected)
                for owner in expected:
                    del plain[owner]
            self.assertEqual(alarms.running, len(plain))
            soonest = min([alarm.deadline for alarm in plain.values()], default=None)
            deadline = alarms.next_deadline()
            if soonest is None:
                self.assertIsNone(deadline)
            else:
                assert deadline is not None
                self.assertLessEqual(deadline, soonest)
