"""
Tests for L{sipxha.transaction.resting}.
"""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.transaction.resting import Resting
from sipxha.transaction.vocabulary import ServerKey

KEY = ServerKey("z9hG4bK-1", "10.0.0.9:5060", "BYE")


class RestingTests(SynchronousTestCase):
    """
    Tests for L{Resting}.
    """

    def test_what_is_kept_is_found_until_its_time(self) -> None:
        """
        By the key it was given, and named when it is over.
        """
        resting = Resting()
        resting.keep(KEY, 32.0, 1000.0, (4, b"answer", "udp"))
        self.assertEqual((resting.find(KEY), KEY in resting, len(resting)), ((4, b"answer", "udp"), True, 1))
        self.assertEqual((resting.next_deadline(), list(resting.due(1031.9))), (1032.0, []))
        self.assertEqual((list(resting.due(1032.0)), list(resting.due(1032.0))), ([KEY], []))
        self.assertEqual((resting.find(KEY), KEY in resting, len(resting)), (None, False, 0))
        self.assertIsNone(resting.next_deadline())

    def test_what_is_kept_may_change(self) -> None:
        """
        Its time does not.
        """
        resting = Resting()
        resting.keep(KEY, 32.0, 1000.0, ("one",))
        resting.replace(KEY, ("one", "two"))
        self.assertEqual((resting.find(KEY), resting.next_deadline()), (("one", "two"), 1032.0))
        self.assertEqual(list(resting.due(1032.0)), [KEY])

    def test_the_collector_has_nothing_to_look_at(self) -> None:
        """
        From the first time on that it came.
        """
        resting = Resting()
        resting.keep(KEY, 32.0, 1000.0, (0,))
        gc.collect()
        before = len(gc.get_objects())
        for number in range(1000):
            resting.keep(KEY._replace(branch=str(number)), 32.0, 1000.0 + number, (4, b"", "udp", number))
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, 10)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["keep", "drop", "time", "back"]),
                st.integers(0, 30),
                st.sampled_from([5.0, 32.0]),
            ),
            max_size=60,
        )
    )
    def test_each_is_over_as_in_a_plain_list(self, acts: list[tuple[str, int, float]]) -> None:
        """
        Whatever is kept, dropped and waited for, in whatever order, under names
        that come again, and even when the clock goes back.
        """
        resting = Resting()
        plain: dict[ServerKey, float] = {}
        now = 1000.0
        for act, number, seconds in acts:
            key = KEY._replace(branch=str(number % 5))
            if act == "keep":
                if key not in plain:
                    resting.keep(key, seconds, now, (number,))
                    plain[key] = now + seconds
            elif act == "drop":
                if plain.pop(key, None) is not None:
                    resting.drop(key)
            elif act == "back":
                now -= number
            else:
                now += number
                over = {each for each, deadline in plain.items() if deadline <= now}
                self.assertEqual(set(resting.due(now)), over)
                for each in over:
                    del plain[each]
            self.assertEqual(len(resting), len(plain))
            deadline = resting.next_deadline()
            if not plain:
                self.assertIsNone(deadline)
            else:
                assert deadline is not None
                self.assertLessEqual(deadline, min(plain.values()))
