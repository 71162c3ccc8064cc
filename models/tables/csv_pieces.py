"""Comma-separated text that need not fit into memory, cut at the ends of rows and parsed."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.models.errors import InputError, unreadable
from pyromoe.models.tables.csv_text import parse_csv
from pyromoe.models.tables.table import LARGE, RATIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

BYTES = 2**24
"""Of text that are parsed at a time."""
MOST = 2**27
"""Bytes in which a row ends, if every quote that is opened is closed."""
PIECE = 2**20
"""Bytes that are read at a time."""


class CSVText:
    """The text of a CSV file.

    Attributes:
        rows: below the header, that were read.
        share: of the file that was read.
        digest: of the text that was read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, str(path)
        self.rows, self.share, self.digest, self.lines = 0, 0.0, 0, 0

    def tables(self, as_text: list[str]) -> Iterator[pa.Table]:
        """Yield the rows in pieces; the columns of `as_text` are text, whatever is in them."""
        header = b""
        for text in self._checked():
            self.digest = zlib.crc32(text, self.digest)
            whole = header + text
            header = header or text[: _end_of_row(text, 0, last=False)[0]]
            table = parse_csv(whole, self.source, before=self.rows, as_text=as_text)
            self.rows += table.num_rows
            yield table

    def _checked(self) -> Iterator[bytes]:
        """Yield the text in pieces that end with a row; what cannot be read is an error."""
        try:
            size = max(self.path.stat().st_size, 1)
            with self.path.open("rb") as raw:
                file: Any = gzip.open(raw) if self.path.name.lower().endswith(".gz") else raw
                for piece in self._pieces(file, size):
                    self.share = min(raw.tell() / size, 1.0)
                    yield piece
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = f"is not a whole gzip file ({error})"
            raise InputError(what, file=self.source, remedy="copy or download it again") from None
        except (FileNotFoundError, PermissionError) as error:
            raise unreadable(self.path, error) from None

    def _pieces(self, file: Any, size: int) -> Iterator[bytes]:
        held, odd, end, total = bytearray(), 0, 0, 0
        while piece := file.read(PIECE):
            total += len(piece)
            if total > max(LARGE, RATIO * size):
                what = f"unpacks to more than {RATIO} times its size"
                raise InputError(what, file=self.source, remedy="is this the right file?")
            place, odd = _end_of_row(piece, odd, last=True)
            end = len(held) + place if place else end
            held += piece
            # Blank rows at the end of a piece would be taken for those at the end of the file.
            text = held[:end].rstrip(b"\r\n") if end >= BYTES else b""
            if text:
                cut = len(text) + 1 + held.startswith(b"\r\n", len(text))
                self.lines += held.count(b"\n", 0, cut)
                yield bytes(held[:cut])
                del held[:cut]
                end -= cut
            if len(held) - end > MOST:
                row = self.lines + held.count(b"\n", 0, end) + 1
                what = f"row {row}: a quote is opened, but not closed"
                raise InputError(what, file=self.source, remedy='add or remove a "')
        if not total:
            raise InputError("the file is empty", file=self.source)
        if not self.rows or held.strip(b"\r\n"):
            yield bytes(held)


def _end_of_row(text: bytes, odd: int, *, last: bool) -> tuple[int, int]:
    """Return where the first or last row ends that is whole, 0 where none is, and what is open.

    Args:
        text: some of a file.
        odd: 1 inside of quotes where it begins, otherwise 0; the same is returned for its end.
        last: whether the last row is asked for.
    """
    letters = np.frombuffer(text, np.uint8)
    newline = 10 if b"\n" in text else 13
    ends = np.flatnonzero(letters == newline)
    quotes = np.cumsum(letters == 34, dtype=np.int64) + odd
    closed = ends[quotes[ends] % 2 == 0]
    place = int(closed[-1 if last else 0]) + 1 if len(closed) else 0
    return place, int(quotes[-1]) % 2 if len(quotes) else odd
