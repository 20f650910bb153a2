"""
Tests for L{sipxha.cli.cdr_formats}.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from twisted.trial.unittest import SynchronousTestCase

from sipxha.cli.cdr_formats import (
    GROUP,
    ExtraMissing,
    Row,
    output,
    write_csv,
    write_json_lines,
    write_parquet,
)
from sipxha.store.cdr_export import COLUMNS

SHORT = ("id", "call_id", "start_time", "duration", "failure_status", "caller_internal")
AT = datetime(2026, 11, 22, 5, 0, 0, 123000, UTC)
ROWS: list[Row] = [
    (1, '"A, B"\nü <sip:a@b>', AT, 60.5, None, True),
    (2, "", None, -0.25, 486, None),
]

TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


class CsvTests(SynchronousTestCase):
    """
    Tests for CSV.
    """

    def written(self, *pages: list[Row], columns: tuple[str, ...] = SHORT) -> str:
        """
        Write pages.
        """
        out = io.BytesIO()
        write_csv(columns, pages, out)
        return out.getvalue().decode()

    def test_rows_stand_under_their_names(self) -> None:
        """
        RFC 4180: quoted where it must be, and CRLF at the end of a line.
        """
        self.assertEqual(
            self.written([ROWS[0]], [ROWS[1]]),
            "id,call_id,start_time,duration,failure_status,caller_internal\r\n"
            '1,"""A, B""\nü <sip:a@b>",2026-11-22T05:00:00.123Z,60.5,,true\r\n'
            "2,,,-0.25,486,\r\n",
        )

    def test_without_rows_there_is_a_head(self) -> None:
        """
        An empty file would be no table.
        """
        self.assertEqual(self.written(columns=("a", "b")), "a,b\r\n")

    def test_no_text_is_a_formula(self) -> None:
        """
        Strangers choose their names; numbers are ours, and stay numbers.
        """
        for text in ("=1+1", "+49", "-1", "@SUM(A1)", "\t=1", "\r=1"):
            (_, (shown, number)) = csv.reader(
                io.StringIO(self.written([(text, -1.5)], columns=("a", "b")), newline="")
            )
            self.assertEqual((shown, number), ("'" + text, "-1.5"))

    @given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
    def test_any_text_comes_back(self, rows: list[tuple[str, str]]) -> None:
        """
        But for the apostrophe.
        """
        read = list(csv.reader(io.StringIO(self.written(list(rows), columns=("a", "b")), newline="")))[1:]
        for row, told in zip(rows, read, strict=True):
            for text, shown in zip(row, told, strict=True):
                self.assertEqual(shown, f"'{text}" if text[:1] in tuple("=+-@\t\r") else text)


class JsonLinesTests(SynchronousTestCase):
    """
    Tests for JSON lines.
    """

    def test_each_line_is_an_object(self) -> None:
        """
        With all columns, absent values as null.
        """
        out = io.BytesIO()
        write_json_lines(SHORT, [ROWS], out)
        first, second = (json.loads(line) for line in out.getvalue().decode().splitlines())
        self.assertEqual(first["call_id"], ROWS[0][1])
        self.assertEqual(first["start_time"], "2026-11-22T05:00:00.123Z")
        self.assertEqual(second, dict(zip(SHORT, (2, "", None, -0.25, 486, None), strict=True)))


class ParquetTests(SynchronousTestCase):
    """
    Tests for Parquet.
    """

    def test_values_keep_their_types(self) -> None:
        """
        Texts as they were sent: nobody executes them here.
        """
        out = io.BytesIO()
        write_parquet(SHORT, [[ROWS[0]], [ROWS[1]]], out)
        table = parquet.read_table(io.BytesIO(out.getvalue()))
        self.assertEqual([tuple(row.values()) for row in table.to_pylist()], ROWS)
        kinds = [str(field.type) for field in table.schema]
        self.assertEqual(kinds, ["int64", "string", "timestamp[ms, tz=UTC]", "double", "int16", "bool"])

    def test_many_rows_are_several_groups(self) -> None:
        """
        As much as is held at once.
        """
        out = io.BytesIO()
        write_parquet(("id",), ([(number,)] * 1000 for number in range(GROUP // 1000 + 1)), out)
        file = parquet.ParquetFile(io.BytesIO(out.getvalue()))
        self.assertEqual((file.metadata.num_row_groups, file.metadata.num_rows), (2, GROUP + 1000))

    def test_without_rows_there_is_a_table(self) -> None:
        """
        With all columns.
        """
        out = io.BytesIO()
        write_parquet(COLUMNS, [], out)
        self.assertEqual(parquet.read_table(io.BytesIO(out.getvalue())).column_names, list(COLUMNS))

    def test_without_pyarrow_the_extra_is_named(self) -> None:
        """
        And nothing is written.
        """
        modules: dict[str, Any] = dict(sys.modules)
        self.addCleanup(sys.modules.update, modules)
        sys.modules["pyarrow"] = None  # type: ignore[assignment]
        out = io.BytesIO()
        error = self.assertRaises(ExtraMissing, write_parquet, SHORT, [ROWS], out)
        self.assertIn("pip install 'sipxha[parquet]'", str(error))
        self.assertEqual(out.getvalue(), b"")


class OutputTests(SynchronousTestCase):
    """
    Tests for where it goes.
    """

    def setUp(self) -> None:
        """
        A folder with an older export.
        """
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "calls.csv"
        self.path.write_text("old")

    def test_a_file_is_replaced_when_it_is_whole(self) -> None:
        """
        Nobody else may read who called whom.
        """
        with output(self.path) as out:
            out.write(b"new")
            self.assertEqual(self.path.read_text(), "old")
        self.assertEqual((self.path.read_text(), self.path.stat().st_mode & 0o777), ("new", 0o600))

    def test_what_ends_half_way_leaves_nothing(self) -> None:
        """
        Not a half, and what was there stays; Ctrl-C too.
        """

        def broken() -> Iterator[list[Row]]:
            yield [("x",)]
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt), output(self.path) as out:
            write_csv(("a",), broken(), out)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["calls.csv"])
        self.assertEqual(self.path.read_text(), "old")
