"""
Tests for records that survive their process.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.store.journal import START, Journal, JournalFull, JournalUnusable, Position


class JournalTests(SynchronousTestCase):
    """
    Tests for a folder of segments.
    """

    def setUp(self) -> None:
        """
        An empty place.
        """
        self.folder = Path(self.mktemp())

    def journal(self, **sizes: int) -> Journal:
        journal = Journal(self.folder, **sizes)
        self.addCleanup(journal.close)
        return journal

    def read_all(self, journal: Journal, position: Position = START) -> list[bytes]:
        found: list[bytes] = []
        while True:
            records, position = journal.read_from(position, 3)
            if not records:
                return found
            found += records

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.journal"))

    def test_records_come_back_in_order(self) -> None:
        """
        From the start, and from any place between two of them.
        """
        journal = self.journal()
        for record in (b"one", b"", b"three", b"four"):
            journal.append(record)
        self.assertEqual(self.read_all(journal), [b"one", b"", b"three", b"four"])
        records, position = journal.read_from(START, 2)
        self.assertEqual(records, [b"one", b""])
        self.assertEqual(self.read_all(journal, position), [b"three", b"four"])

    def test_only_its_owner_may_read_it(self) -> None:
        """
        Whatever folder the operator made for it, and whatever the umask is.
        """
        self.addCleanup(os.umask, os.umask(0))
        self.folder.mkdir()
        self.journal().append(b"who called whom")
        modes = {path.stat().st_mode & 0o777 for path in self.folder.iterdir()}
        self.assertEqual((modes, len(list(self.folder.iterdir()))), ({0o600}, 2))

    def test_a_reader_at_the_end_finds_what_comes_later(self) -> None:
        """
        Its place stays good.
        """
        journal = self.journal()
        self.assertEqual(journal.read_from(START, 9), ([], START))
        journal.append(b"one")
        _, position = journal.read_from(START, 9)
        self.assertEqual(position, journal.end)
        self.assertEqual(journal.read_from(position, 9), ([], position))
        journal.append(b"two")
        self.assertEqual(self.read_all(journal, position), [b"two"])

    def test_what_a_killed_process_wrote_is_there(self) -> None:
        """
        Nothing needs to be closed.
        """
        self.journal().append(b"one")
        following = self.journal()
        following.append(b"two")
        self.assertEqual(self.read_all(following), [b"one", b"two"])

    def test_the_identity_is_the_folder_s(self) -> None:
        """
        It lives as long as the folder, and no other has it.
        """
        self.assertEqual(self.journal().identity, self.journal().identity)
        other = Journal(Path(self.mktemp()))
        self.addCleanup(other.close)
        self.assertNotEqual(other.identity, self.journal().identity)

    def test_a_torn_tail_is_cut(self) -> None:
        """
        Wherever the power went during the last record, those before it stay,
        and new ones follow.
        """
        whole = self.journal()
        whole.append(b"one")
        end = whole.end.offset
        whole.append(b"torn")
        data = self.segments()[0].read_bytes()
        for length in range(end, len(data)):
            self.segments()[0].write_bytes(data[:length])
            following = self.journal()
            self.assertEqual(self.read_all(following), [b"one"], length)
            following.append(b"two")
            self.assertEqual(self.read_all(following), [b"one", b"two"], length)
            for path in self.segments()[1:]:
                path.unlink()

    def test_what_follows_a_lost_tail_lies_after_every_old_place(self) -> None:
        """
        A database may have been told of records that a power cut took from
        the journal; what comes later must not be taken for those.
        """
        journal = self.journal()
        journal.append(b"kept")
        journal.append(b"taken")
        told = journal.end
        self.segments()[0].write_bytes(b"")
        following = self.journal()
        following.append(b"later")
        self.assertEqual(self.read_all(following, told), [b"later"])

    def test_a_damaged_segment_costs_its_own_rest_only(self) -> None:
        """
        Reading goes on with the next one, and the damage is counted.
        """
        first = self.journal()
        for record in (b"one", b"two", b"three"):
            first.append(record)
        path = self.segments()[0]
        following = self.journal()
        following.append(b"four")
        data = bytearray(path.read_bytes())
        data[11 + 8] ^= 1
        path.write_bytes(data)
        self.assertEqual(self.read_all(following), [b"one", b"four"])
        self.assertEqual(following.damaged, 1)

    def test_damage_to_the_segment_being_written_costs_no_later_record(self) -> None:
        """
        A new one is begun.
        """
        journal = self.journal()
        journal.append(b"one")
        self.segments()[0].write_bytes(b"x" * journal.end.offset)
        self.assertEqual(self.read_all(journal), [])
        journal.append(b"two")
        self.assertEqual(self.read_all(journal), [b"two"])

    def test_records_after_a_place_can_be_counted(self) -> None:
        """
        In all segments, without those before it; what is damaged ends its segment.
        """
        journal = self.journal(segment_size=100)
        places = [journal.end]
        for number in range(50):
            journal.append(b"%020d" % number)
            places.append(journal.end)
        self.assertEqual([journal.count_from(place) for place in places], list(range(50, -1, -1)))
        self.assertEqual(journal.count_from(START), 50)
        self.segments()[0].write_bytes(b"")
        self.assertLess(journal.count_from(START), 50)

    def test_segments_are_forgotten_once_used(self) -> None:
        """
        All but the one that is being written.
        """
        journal = self.journal(segment_size=100)
        for number in range(50):
            journal.append(b"%020d" % number)
        self.assertGreater(len(self.segments()), 5)
        size = journal.size
        self.assertEqual(size, sum(path.stat().st_size for path in self.segments()))
        journal.forget(journal.end)
        self.assertEqual(len(self.segments()), 1)
        self.assertLess(journal.size, size)

    def test_a_full_journal_keeps_what_it_has(self) -> None:
        """
        A record too many is refused whole; there is room again when others
        have been forgotten.
        """
        journal = self.journal(limit=1000)
        kept = 0
        while True:
            try:
                journal.append(b"x" * 20)
            except JournalFull:
                break
            kept += 1
        self.assertRaises(JournalFull, journal.append, b"x" * 20)
        self.assertEqual(len(self.read_all(journal)), kept)
        self.assertLessEqual(journal.size, 1000)
        journal.forget(journal.end)
        journal.append(b"again")
        self.assertEqual(self.read_all(journal)[-1], b"again")

    def test_a_full_disk_leaves_no_part_of_a_record(self) -> None:
        """
        C{/dev/full} answers as a full disk does.
        """
        journal = self.journal()
        journal.append(b"one")
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        real, journal._file = journal._file, full
        self.assertRaises(JournalFull, journal.append, b"two")
        journal._file = real
        journal.append(b"three")
        self.assertEqual(self.read_all(journal), [b"one", b"three"])

    def test_a_record_beyond_all_measure_is_refused(self) -> None:
        """
        It would be taken for damage.
        """
        self.assertRaises(JournalFull, self.journal().append, b"x" * (1024 * 1024 + 1))

    def test_long_records_come_back(self) -> None:
        """
        Longer ones than are read at once.
        """
        journal = self.journal()
        records = [b"a" * 700_000, b"b", b"c" * 1024 * 1024]
        for record in records:
            journal.append(record)
        self.assertEqual(self.read_all(journal), records)

    def test_a_folder_that_cannot_be_made_is_named(self) -> None:
        """
        The node does not start with it.
        """
        self.folder.write_text("a file")
        refused = self.assertRaises(JournalUnusable, Journal, self.folder)
        self.assertIn(str(self.folder), str(refused))

    def test_syncing_is_handed_out_when_there_is_something_to_sync(self) -> None:
        """
        Once for each append, segments that were ended in between included.
        """
        journal = self.journal(segment_size=30)
        self.assertIsNone(journal.unsynced())
        for _ in range(3):
            journal.append(b"x" * 20)
        sync = journal.unsynced()
        assert sync is not None
        sync()
        self.assertIsNone(journal.unsynced())

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(st.binary(max_size=60), max_size=30),
        st.integers(min_value=1, max_value=7),
        st.integers(min_value=10, max_value=200),
    )
    def test_any_records_in_any_segments_read_in_any_pages(
        self, records: list[bytes], page: int, segment_size: int
    ) -> None:
        """
        What was appended is what is read.
        """
        journal = Journal(Path(self.mktemp()), segment_size=segment_size)
        try:
            for record in records:
                journal.append(record)
            found: list[bytes] = []
            position = START
            while True:
                some, position = journal.read_from(position, page)
                if not some:
                    break
                self.assertLessEqual(len(some), page)
                found += some
            self.assertEqual(found, records)
        finally:
            journal.close()
