"""
Tests for L{sipxha.registry.digest}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.digest import NOTHING, WIDTH, Digests, horizon
from sipxha.registry.table import Registry
from tests.support.bindings import a_row

PRIMARY = "sipx1.example.com"

_ROWS = st.lists(
    st.builds(
        a_row,
        callid=st.sampled_from(["1", "2", "3"]),
        cseq=st.integers(1, 4),
        expires=st.integers(0, 10 * WIDTH),
        primary=st.sampled_from([PRIMARY, "sipx2.example.com"]),
        update_number=st.integers(1, 9),
    )
)


def digests(rows: list[Binding]) -> Digests:
    """
    Of just these rows.
    """
    kept = Digests()
    for row in rows:
        kept.add(row)
    return kept


class DigestTests(SynchronousTestCase):
    """
    Tests for what two nodes compare.
    """

    @given(_ROWS, st.randoms(use_true_random=False), st.integers(0, 11))
    def test_the_order_of_arrival_does_not_matter(self, rows: list[Binding], chance: object, at: int) -> None:
        """
        Nor what came and went in between.
        """
        shuffled = sorted(rows, key=lambda _: chance.random())  # type: ignore[attr-defined]
        one, two = digests(rows), digests(shuffled)
        two.add(a_row(update_number=99))
        two.remove(a_row(update_number=99))
        self.assertEqual(one.of(PRIMARY, at * WIDTH), two.of(PRIMARY, at * WIDTH))

    def test_every_column_that_the_merge_looks_at_counts(self) -> None:
        """
        And the other ones do not: an older dialect may lack them.
        """
        held = digests([a_row()]).of(PRIMARY, 0)
        for column, value in (
            ("identity", "202@example.com"),
            ("callid", "other"),
            ("contact", "<sip:other@10.1.1.7>"),
            ("reg_id", 2),
            ("cseq", 18),
            ("expires", 1_900_000_001),
            ("update_number", 2),
        ):
            self.assertNotEqual(digests([a_row(**{column: value})]).of(PRIMARY, 0), held, column)
        for column, value in (("path", "<sip:p>"), ("received", ""), ("deadline", 5), ("uri", "x")):
            self.assertEqual(digests([a_row(**{column: value})]).of(PRIMARY, 0), held, column)

    def test_what_ended_before_the_horizon_does_not_count(self) -> None:
        """
        A horizon between two buckets is that of the later one.
        """
        kept = digests([a_row(expires=WIDTH - 1), a_row(expires=WIDTH, callid="2"), a_row(expires=3 * WIDTH)])
        counted = [kept.of(PRIMARY, at).rows for at in (0, 1, WIDTH, WIDTH + 1, 3 * WIDTH, 4 * WIDTH)]
        self.assertEqual(counted, [3, 2, 2, 1, 1, 0])
        self.assertEqual(kept.of("sipx2.example.com", 0), NOTHING)

    def test_the_horizon_is_before_all_that_is_live_and_after_all_that_is_forgotten(self) -> None:
        """
        With room for clocks that differ.
        """
        at = horizon(1_700_000_000.5, 7200)
        self.assertEqual(at % WIDTH, 0)
        self.assertTrue(1_700_000_000 - 7200 < at < 1_700_000_000 - 2000)
        self.assertEqual(horizon(5.0, 7200), 0)

    @given(_ROWS)
    def test_the_registry_keeps_its_digests(self, rows: list[Binding]) -> None:
        """
        As if they were computed from what it holds; also when it forgets.
        """
        registry = Registry(PRIMARY, 7200)
        registry.apply(rows, 0.0)
        for primary in (PRIMARY, "sipx2.example.com"):
            held = digests(registry.rows_after(primary, 0))
            for at in range(12):
                self.assertEqual(
                    registry.digest(primary, at * WIDTH),
                    held.of(primary, at * WIDTH),
                )
        registry.purge(1e9)
        self.assertEqual(registry.digest(PRIMARY, 0), NOTHING)
