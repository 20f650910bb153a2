"""
Tests for L{sipxha.sync.link}.
"""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from sipxha.sync.link import FIRST_DELAY, TABLE, Do, Illegal, Input, Link, State

NOW = 1000.0


def a_link(state: State = State.UNINITIALIZED) -> Link:
    """
    A link that could not be made another way as quickly.
    """
    link = Link("sipx2.example.com", most_delay=30.0)
    link.state = state
    return link


class TableTests(SynchronousTestCase):
    """
    Tests for every cell.
    """

    def test_every_cell_is_written(self) -> None:
        """
        Nothing happens by omission.
        """
        self.assertEqual(set(TABLE), set(product(State, Input)))

    def test_every_cell_does_what_it_says(self) -> None:
        """
        Swept one by one: a state, an event, what came of it.
        """
        for (state, event), cell in TABLE.items():
            link = a_link(state)
            link.wants_reset = True
            if cell is None:
                self.assertRaises(Illegal, link.feed, event, NOW)
                continue
            todo = link.feed(event, NOW)
            self.assertEqual((link.state, todo), cell)
            self.assertEqual(link.next_try, NOW + FIRST_DELAY if Do.LATER in todo else None)
            stays = not {Do.LATER, Do.WELCOME, Do.GIVE_UP} & set(todo)
            self.assertEqual(link.wants_reset, stays, (state, event))

    def test_only_a_reset_makes_a_peer_reachable(self) -> None:
        """
        SyncDesign 5.3.
        """
        ways = {
            event
            for (state, event), cell in TABLE.items()
            if cell is not None and state is not State.REACHABLE and cell[0] is State.REACHABLE
        }
        self.assertEqual(ways, {Input.RESET_TAKEN, Input.RESET_CAME})

    def test_incompatible_is_for_ever(self) -> None:
        """
        Until a restart of this node.
        """
        for event in Input:
            self.assertEqual(TABLE[State.INCOMPATIBLE, event], (State.INCOMPATIBLE, ()))

    def test_whoever_is_lost_is_tried_again(self) -> None:
        """
        Every way into UnReachable sets a time, and every way out of Reachable asks the others.
        """
        for (state, _), cell in TABLE.items():
            if cell is None:
                continue
            if cell[0] is State.UNREACHABLE and state is not State.UNREACHABLE:
                self.assertIn(Do.LATER, cell[1])
            if state is State.REACHABLE and cell[0] is not State.REACHABLE:
                self.assertIn(Do.FAREWELL, cell[1])


class DelayTests(SynchronousTestCase):
    """
    Tests for how long a lost peer is left alone (SyncDesign 5.13).
    """

    def fail_and_reset(self, link: Link) -> float:
        link.feed(Input.PUSH_FAILED, NOW)
        assert link.next_try is not None
        delay = link.next_try - NOW
        link.feed(Input.RESET_TAKEN, NOW)
        return delay

    def test_resets_alone_do_not_shorten_the_delay(self) -> None:
        """
        A peer whose resets succeed and whose pushes fail is tried more and more slowly.
        """
        link = a_link(State.REACHABLE)
        self.assertEqual([self.fail_and_reset(link) for _ in range(7)], [1, 2, 4, 8, 16, 30, 30])

    def test_a_push_that_succeeds_makes_the_delay_short_again(self) -> None:
        """
        The peer is well.
        """
        link = a_link(State.REACHABLE)
        for _ in range(5):
            self.fail_and_reset(link)
        link.feed(Input.PUSH_TAKEN, NOW)
        self.assertEqual(self.fail_and_reset(link), FIRST_DELAY)

    def test_a_peer_that_stays_level_for_a_delay_is_well_too(self) -> None:
        """
        Where there is nothing to push, time must tell; while it is behind, it does not.
        """
        link = a_link(State.REACHABLE)
        for _ in range(3):
            self.fail_and_reset(link)
        self.assertEqual(link.next_deadline(), NOW + 8)
        link.deadline_passed(NOW + 7, is_level=True)
        self.assertEqual(link.delay, 8)
        link.deadline_passed(NOW + 8, is_level=False)
        self.assertEqual((link.delay, link.next_deadline()), (8, NOW + 16))
        link.deadline_passed(NOW + 16, is_level=True)
        self.assertEqual((link.delay, link.next_deadline()), (FIRST_DELAY, None))

    def test_a_call_from_the_peer_ends_the_wait(self) -> None:
        """
        It is there again.
        """
        for event in (Input.PULL_CAME, Input.PUSH_UNWELCOME):
            link = a_link()
            link.feed(Input.PULL_FAILED, NOW)
            self.assertFalse(link.wants_reset)
            link.feed(event, NOW)
            self.assertTrue(link.wants_reset)
            self.assertIsNone(link.next_deadline())

    def test_the_wait_ends_by_itself(self) -> None:
        """
        Not before its time.
        """
        link = a_link()
        link.feed(Input.RESET_FAILED, NOW)
        link.deadline_passed(NOW + 0.9, is_level=True)
        self.assertFalse(link.wants_reset)
        link.deadline_passed(NOW + 1, is_level=True)
        self.assertTrue(link.wants_reset)
