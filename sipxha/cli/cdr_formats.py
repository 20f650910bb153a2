"""
The formats of C{sipxha cdr export}: rows in, bytes out, as they come.

A file that is asked for by name appears when it is whole, and not at all
otherwise.  Which rows there are, nobody here knows.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sipxha.config.whole_file import whole_file
from sipxha.errors import LocalError

Row = Sequence[Any]
Writer = Callable[[Sequence[str], Iterable[Sequence[Row]], BinaryIO], None]
"""Takes the names of the columns, the rows in pages, and where to write."""

MODE = 0o600
"""Of a file: it tells who called whom."""

GROUP = 20_000
"""Rows of a row group of Parquet, which is as much as is held at once."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins like this is executed by spreadsheet programs."""

_PARQUET_TYPES = {
    "id": "int64",
    "failure_status": "int16",
    "caller_internal": "bool",
    "ring_time": "float64",
    "duration": "float64",
}
_PARQUET_TIMES = frozenset({"start_time", "connect_time", "end_time"})


class ExtraMissing(LocalError):
    """
    A format needs a package that is not installed.
    """


def write_csv(columns: Sequence[str], pages: Iterable[Sequence[Row]], out: BinaryIO) -> None:
    """
    Write CSV as in RFC 4180, in UTF-8, with the names of the columns at its head.

    Texts are strangers': one that a spreadsheet would execute gets an apostrophe in front.
    """
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(columns)
        for page in pages:
            writer.writerows([_cell(value) for value in row] for row in page)
        text.flush()
    finally:
        # It must not close what is not its own.
        text.detach()


def write_json_lines(columns: Sequence[str], pages: Iterable[Sequence[Row]], out: BinaryIO) -> None:
    """
    Write an object on each line.
    """
    for page in pages:
        out.write("".join(as_json(columns, row) + "\n" for row in page).encode())
    out.flush()


def write_parquet(columns: Sequence[str], pages: Iterable[Sequence[Row]], out: BinaryIO) -> None:
    """
    Write Parquet.

    @raise ExtraMissing: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ExtraMissing("Parquet needs pyarrow: pip install 'sipxha[parquet]'") from None

    types: Mapping[str, Any] = {
        name: getattr(pyarrow, kind.replace("bool", "bool_"))() for name, kind in _PARQUET_TYPES.items()
    }
    moment = pyarrow.timestamp("ms", tz="UTC")
    schema = pyarrow.schema(
        [(name, moment if name in _PARQUET_TIMES else types.get(name, pyarrow.string())) for name in columns]
    )
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(pages):
            arrays = [
                pyarrow.array(values, field.type)
                for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


FORMATS: Mapping[str, Writer] = {"csv": write_csv, "jsonl": write_json_lines, "parquet": write_parquet}


def as_json(columns: Sequence[str], row: Row) -> str:
    """
    Write one row as an object.
    """
    named = {name: _json_value(value) for name, value in zip(columns, row, strict=True)}
    return json.dumps(named, ensure_ascii=False)


@contextmanager
def output(path: Path | None) -> Iterator[BinaryIO]:
    """
    Open what is written to: standard output, or a file which is put in place when all went well.

    @raise OSError: It cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(path, MODE, keeps_mode=False) as file:
        yield file


def _groups(pages: Iterable[Sequence[Row]]) -> Iterator[list[Row]]:
    group: list[Row] = []
    for page in pages:
        group.extend(page)
        if len(group) >= GROUP:
            yield group
            group = []
    if group:
        yield group


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json_value(value)


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
