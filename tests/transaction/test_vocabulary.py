"""
Tests for L{sipxha.transaction.vocabulary}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.transaction.vocabulary import FIRED, RELIABLE, UNRELIABLE, Timer

# RFC 3261 table 4 and RFC 6026 section 8.10: unreliable, reliable.
TABLE_4: dict[str, tuple[float, float | None]] = {
    "A": (0.5, None),
    "B": (32, 32),
    "D": (32, 0),
    "E": (0.5, None),
    "F": (32, 32),
    "G": (0.5, None),
    "H": (32, 32),
    "I": (5, 0),
    "J": (32, 0),
    "K": (5, 0),
    "L": (32, 32),
    "M": (32, 32),
}


class TimerTests(SynchronousTestCase):
    """
    Tests for the durations of timers.
    """

    def test_durations_are_those_of_table_4(self) -> None:
        """
        Each letter lasts as long as the RFC says, on either kind of transport.
        """
        for letter, durations in TABLE_4.items():
            timer = Timer[letter]
            self.assertEqual((UNRELIABLE[timer], RELIABLE[timer]), durations, letter)

    def test_the_100_of_rfc_4320_is_due_when_timer_e_reaches_t2(self) -> None:
        """
        That is 3.5 seconds after the request, whatever the transport.
        """
        self.assertEqual((UNRELIABLE[Timer.TRYING], RELIABLE[Timer.TRYING]), (3.5, 3.5))

    def test_every_timer_is_an_input(self) -> None:
        """
        No two fire as the same.
        """
        self.assertEqual(set(FIRED), set(Timer))
        self.assertEqual(len(set(FIRED.values())), len(Timer))
