"""
Tests for L{sipxha.routing.quarantine}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.routing import quarantine
from sipxha.routing.quarantine import Quarantine
from sipxha.sip.hop import Hop

A = Hop("tcp", "10.1.1.50", 5070, "rr.sipx1.example.com")
B = Hop("tcp", "10.1.2.50", 5070, "rr.sipx1.example.com")
C = Hop("udp", "10.1.1.50", 5070, "rr.sipx1.example.com")


class QuarantineTests(SynchronousTestCase):
    """
    Tests for L{Quarantine}.
    """

    def setUp(self) -> None:
        """
        Let a quarantine be of 30 seconds.
        """
        self.quarantine = Quarantine(30.0)

    def test_without_failures_the_order_stays(self) -> None:
        """
        It is the domain's own.
        """
        self.assertEqual(self.quarantine.order([B, A, C], 100.0), [B, A, C])

    def test_L08_what_failed_is_tried_last_and_only_that(self) -> None:
        """
        Another transport of the same server is another place.
        """
        self.quarantine.failed(A, 100.0)
        self.assertEqual(self.quarantine.order([A, B, C], 101.0), [B, C, A])

    def test_L08_a_place_is_the_same_under_another_name(self) -> None:
        """
        A dead server is dead for all domains that it serves.
        """
        self.quarantine.failed(A._replace(name="example.net"), 100.0)
        self.assertEqual(self.quarantine.order([A, B], 101.0), [B, A])

    def test_L09_when_all_have_failed_all_are_still_tried(self) -> None:
        """
        In the order that they had.
        """
        for hop in (B, A):
            self.quarantine.failed(hop, 100.0)
        self.assertEqual(self.quarantine.order([A, B], 101.0), [A, B])
        self.assertEqual(self.quarantine.order([A], 101.0), [A])

    def test_an_answer_ends_it_at_once(self) -> None:
        """
        A server that is back is used again.
        """
        self.quarantine.failed(A, 100.0)
        self.quarantine.answered(A)
        self.quarantine.answered(B)
        self.assertEqual(self.quarantine.order([A, B], 100.0), [A, B])

    def test_after_the_quarantine_one_request_finds_out_for_all(self) -> None:
        """
        The others avoid the place until it has answered: so a server that
        stays dead costs one request for each quarantine.
        """
        self.quarantine.failed(A, 100.0)
        self.assertEqual(self.quarantine.order([A, B], 130.0), [A, B])
        self.assertEqual(self.quarantine.order([A, B], 130.0), [B, A])
        self.quarantine.answered(A)
        self.assertEqual(self.quarantine.order([A, B], 131.0), [A, B])

    def test_a_place_that_is_not_the_first_choice_is_not_the_one_to_find_out(self) -> None:
        """
        It might not be tried at all.
        """
        self.quarantine.failed(B, 100.0)
        self.assertEqual(self.quarantine.order([A, B], 130.0), [A, B])
        self.assertEqual(self.quarantine.order([B, A], 130.0), [B, A])

    def test_memory_is_bounded(self) -> None:
        """
        The oldest failures are forgotten first.
        """
        for number in range(quarantine.LIMIT + 1):
            self.quarantine.failed(Hop("udp", "10.1.1.9", number), 100.0)
        oldest, second = Hop("udp", "10.1.1.9", 0), Hop("udp", "10.1.1.9", 1)
        self.assertEqual(self.quarantine.order([second, oldest], 101.0), [oldest, second])
