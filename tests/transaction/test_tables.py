"""
Tests for L{sipxha.transaction.tables}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipxha.transaction.machine import step
from sipxha.transaction.tables import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Table,
    Verb,
)
from sipxha.transaction.vocabulary import FIRED, Input, State, Timer

# The arrows of the figures, once more and drawn differently: the column is the
# input, the letter the state that follows; a dot is "ignored".
LETTERS = {
    "I": State.INITIAL,
    "L": State.CALLING,
    "T": State.TRYING,
    "P": State.PROCEEDING,
    "C": State.COMPLETED,
    "F": State.CONFIRMED,
    "A": State.ACCEPTED,
    "X": State.TERMINATED,
}

CLIENT_INPUTS = (
    "SEND RECEIVE_1XX RECEIVE_2XX RECEIVE_FAILURE CANCELLED TRANSPORT_FAILED "
    "TIMER_A TIMER_B TIMER_D TIMER_E TIMER_F TIMER_K TIMER_M TIMER_PATIENCE TIMER_CANCEL"
)
SERVER_INPUTS = (
    "REQUEST ACK RESPOND_1XX RESPOND_2XX RESPOND_FAILURE RESPOND_408 TRANSPORT_FAILED "
    "TIMER_F TIMER_G TIMER_H TIMER_I TIMER_J TIMER_L TIMER_TRYING"
)

FIGURES: list[tuple[str, Table, str, str]] = [
    (
        "RFC 3261 figure 5 and RFC 6026",
        INVITE_CLIENT,
        CLIENT_INPUTS,
        """
        I  L . . . . .  . . . . . . . . .
        L  . P A C . X  L X . . . . . L .
        P  . P A C P .  . . . . . . . . X
        C  . . . C . X  . . X . . . . . .
        A  . . A . . .  . . . . . . X . .
        X  . . . . . .  . . . . . . . . .
        """,
    ),
    (
        "RFC 3261 figure 6",
        NON_INVITE_CLIENT,
        CLIENT_INPUTS,
        """
        I  T . . . . .  . . . . . . . . .
        T  . P C C . X  . . . T X . . T .
        P  . P C C . X  . . . P X . . . .
        C  . . . . . .  . . . . . X . . .
        X  . . . . . .  . . . . . . . . .
        """,
    ),
    (
        "RFC 3261 figure 7 and RFC 6026",
        INVITE_SERVER,
        SERVER_INPUTS,
        """
        I  P . . . . . .  . . . . . . .
        P  P . P A C . .  . . . . . . .
        C  C F . . . . .  . C X . . . .
        F  . . . . . . .  . . . X . . .
        A  . A . A . . .  . . . . . X .
        X  . . . . . . .  . . . . . . .
        """,
    ),
    (
        "RFC 3261 figure 8 and RFC 4320",
        NON_INVITE_SERVER,
        SERVER_INPUTS,
        """
        I  T . . . . . .  . . . . . . .
        T  . . . C C C .  . . . . . . P
        P  P . . C C C X  X . . . . . .
        C  C . . . . . X  . . . . X . .
        X  . . . . . . .  . . . . . . .
        """,
    ),
]


class TableTests(SynchronousTestCase):
    """
    Tests for the four machines as data.
    """

    def test_every_cell_is_that_of_the_figure(self) -> None:
        """
        Each pair of state and input, the ignored ones too, leads where the
        figure's arrow does.
        """
        for figure, table, inputs, drawing in FIGURES:
            columns = [Input[name] for name in inputs.split()]
            rows = {}
            for line in drawing.split("\n"):
                letter, *cells = line.split() or [""]
                if letter:
                    rows[LETTERS[letter]] = dict(zip(columns, cells, strict=True))
            for state in State:
                for happened in Input:
                    cell = rows.get(state, {}).get(happened, ".")
                    expected = None if cell == "." else LETTERS[cell]
                    found = table.get((state, happened))
                    self.assertEqual(found and found[0], expected, f"{figure}: {state.name} {happened.name}")

    def test_an_ignored_input_changes_nothing(self) -> None:
        """
        Where a table has no cell, the state stays and nothing is to be done.
        """
        for figure, table, _, _ in FIGURES:
            for state in State:
                for happened in Input:
                    if (state, happened) not in table:
                        self.assertEqual(step(table, state, happened, ()), (state, ()), figure)

    def test_no_timer_runs_where_nobody_waits_for_it(self) -> None:
        """
        Along every path each running timer has a cell in the state that it
        runs in; only patience, which the sender starts, may run out unheard.
        """
        for figure, table, _, _ in FIGURES:
            seen: set[tuple[State, frozenset[Timer]]] = set()
            todo: list[tuple[State, frozenset[Timer]]] = [(State.INITIAL, frozenset())]
            while todo:
                state, running = todo.pop()
                if (state, running) in seen:
                    continue
                seen.add((state, running))
                if state is State.TERMINATED:
                    continue
                for timer in running:
                    self.assertIn((state, FIRED[timer]), table, f"{figure}: {timer.name} in {state.name}")
                for (origin, happened), (following, acts) in table.items():
                    fired = [timer for timer in Timer if FIRED[timer] is happened]
                    if origin is not state or not running.issuperset(set(fired) - {Timer.PATIENCE}):
                        continue
                    after = set(running) - set(fired)
                    for verb, timer in acts:
                        if verb is Verb.REST:
                            after = {timer}
                        elif verb is Verb.STOP:
                            after.discard(timer)
                        elif verb in (Verb.START, Verb.AGAIN, Verb.SLOW):
                            after.add(timer)
                    todo.append((following, frozenset(after)))

    def test_who_rests_stays_as_it_is_and_ends_by_one_timer(self) -> None:
        """
        So little has to be kept of it: no request, no timer that repeats, and
        nothing that is to be done when the time is over.
        """
        kept = {
            Verb.SEND,
            Verb.SEND_ONCE,
            Verb.SEND_ACK,
            Verb.TELL_RESPONSE,
            Verb.TELL_ACK,
            Verb.TELL_TIMEOUT,
        }
        found = set()
        for figure, table, _, _ in FIGURES:
            rests = {
                state: acts[-1].timer for state, acts in table.values() if acts and acts[-1].verb is Verb.REST
            }
            for (state, _), (following, acts) in table.items():
                for act in acts:
                    # From everywhere, and nothing is done after it.
                    is_first = following in rests and following is not state and act is acts[-1]
                    self.assertEqual(act.verb is Verb.REST, is_first, figure)
            for (state, happened), (following, acts) in table.items():
                if state not in rests:
                    continue
                self.assertIn(following, (state, State.TERMINATED), figure)
                self.assertLessEqual({act.verb for act in acts}, kept, figure)
                if happened in FIRED.values():
                    self.assertEqual(happened, FIRED[rests[state]], figure)
                    self.assertEqual((following, acts), (State.TERMINATED, ()), figure)
            found |= {(figure, state) for state in rests}
        self.assertEqual(len(found), 6)

    def test_only_a_ringing_invite_may_last_for_ever(self) -> None:
        """
        Every state but Proceeding of INVITE, which is the transaction user's
        to end, and the moment in which a server has just been asked, has a
        timer that leads on.
        """
        for figure, table, _, _ in FIGURES:
            resting = {following for following, _ in table.values()} - {State.TERMINATED}
            for state in resting:
                timers = {happened for (origin, happened), _ in table.items() if origin is state} & set(
                    FIRED.values()
                )
                if table in (INVITE_CLIENT, INVITE_SERVER) and state is State.PROCEEDING:
                    self.assertLessEqual(timers, {Input.TIMER_CANCEL}, figure)
                else:
                    self.assertTrue(timers, f"{figure}: {state.name}")
