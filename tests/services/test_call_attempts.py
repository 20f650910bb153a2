"""
Tests for L{sipxha.services.call_attempts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.services.call_attempts import MOST, CallAttempts
from tests.support.fakes import a_request


class CallAttemptsTests(SynchronousTestCase):
    """
    Tests for L{CallAttempts}.
    """

    def setUp(self) -> None:
        self.attempts = CallAttempts()

    def call(self, *answers: tuple[int, float]) -> None:
        """
        An INVITE at 100 s, and answers that many seconds later.
        """
        request = a_request("INVITE")
        self.attempts.begun(request, 100.0)
        for status, later in answers:
            self.attempts.answered(request, status, 100.0 + later)

    def outcomes(self) -> dict[str, int]:
        """
        Those that there were.
        """
        return {outcome: count for outcome, count in self.attempts.outcomes.items() if count}

    def test_the_first_ringing_is_what_the_caller_waited_for(self) -> None:
        """
        Neither the 100 of our own nor what comes after it; RFC 6076 section 4.3.1.
        """
        self.call((100, 0.01), (180, 0.5), (183, 0.7), (180, 3.0), (200, 9.0))
        delays = self.attempts.delays
        self.assertEqual((sum(delays.counts), delays.total), (1, 0.5))
        self.assertEqual(self.outcomes(), {"established": 1})

    def test_who_accepts_without_ringing_was_heard_then(self) -> None:
        """
        And a refusal is no sign of that kind: it may well be our own.
        """
        self.call((200, 0.25))
        self.call((404, 0.001))
        delays = self.attempts.delays
        self.assertEqual((sum(delays.counts), delays.total), (1, 0.25))

    def test_each_end_has_its_outcome(self) -> None:
        """
        What the ratios of RFC 6076 section 4.6 and 4.7 count apart.
        """
        for status in (200, 202, 302, 480, 486, 600, 603, 487, 404, 408, 503, 604):
            self.call((status, 1.0))
        self.assertEqual(
            self.outcomes(), {"established": 2, "redirected": 1, "declined": 4, "abandoned": 1, "failed": 4}
        )

    def test_a_challenge_is_no_attempt(self) -> None:
        """
        Its answer is.
        """
        for status in (401, 407):
            self.call((status, 0.01))
        self.assertEqual(self.outcomes(), {})

    def test_nothing_is_kept_of_what_is_over(self) -> None:
        """
        A second 2xx of the same INVITE counts no more, and who was never let in counts not at all.
        """
        self.call((200, 1.0), (200, 1.5))
        self.attempts.answered(a_request("INVITE"), 200, 101.0)
        self.assertEqual(self.outcomes(), {"established": 1})
        self.assertEqual(self.attempts._open, {})

    def test_calls_that_never_end_are_not_kept_for_ever(self) -> None:
        """
        The oldest go.
        """
        request = a_request("INVITE")
        for _ in range(MOST + 5):
            self.attempts.begun(request.copy(), 100.0)
        self.assertEqual(len(self.attempts._open), MOST)
