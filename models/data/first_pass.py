"""The first pass over a table that is read in blocks: every value checked, the encoding learned."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromoe.models.data.divide import Data, Part
from pyromoe.models.data.first_checks import check_responses, check_types, refuse_text
from pyromoe.models.data.learned import learner_of, outsize_of
from pyromoe.models.data.roles import extras_of, predictors_of, responses_of
from pyromoe.models.data.row_parts import KEPT, TEST, TRAIN, RowParts
from pyromoe.models.data.stream import Stream, pieces, shards_of
from pyromoe.models.errors import InputError
from pyromoe.models.tables.readers import found_by
from pyromoe.models.tables.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.models.data.encoding import Encoding
    from pyromoe.models.data.learn import Learner
    from pyromoe.models.data.outsize import Outsize
    from pyromoe.models.data.stream import Segment
    from pyromoe.models.specs.spec_file import SpecFile
    from pyromoe.models.tables.blocks import Blocks
    from pyromoe.models.tables.readers import Readers

    Report = Callable[[float, str], None]


def first_pass(
    spec_file: SpecFile,
    opened: Callable[[], tuple[Blocks, str | None]],
    shards: int,
    report: Report,
    readers: Readers,
) -> Data:
    """Read a table once.

    What was learned of each shard is put together in their order, so that the bits do not depend
    on who reads which.

    Args:
        spec_file: what is to become of it, with `data.stream`.
        opened: gives the table, and the response where the spec does not name one.
        shards: S, into how many the rows are divided.
        report: called with the share that is done and what is being done.
        readers: who read it; each calls this.

    Returns:
        The data, of which a sample of each part is in memory, and the stream of all.
    """
    survey, failed, mine = None, None, range(0)
    try:
        survey, mine = Survey(spec_file, *opened()), readers.mine(shards)
        refuse_text(survey.blocks, survey.bare, survey.learner)
    except InputError as error:
        failed = error
    readers.agree("" if survey is None else survey.digest(), failed)
    assert survey is not None
    whole = shards_of(survey.blocks.sizes, shards)
    own = whole[mine.start : mine.stop]
    each = found_by(readers, lambda: survey.read(own, report))
    survey.join(readers, each)
    training = [shard["training"] for one in each for shard in one["shards"]]
    segments = [
        [dataclasses.replace(s, training=n) for s, n in zip(shard, numbers, strict=True)]
        for shard, numbers in zip(whole, training, strict=True)
    ]
    return survey.data(segments)


class Survey:
    """What a table has been found to hold so far."""

    def __init__(self, spec_file: SpecFile, blocks: Blocks, default: str | None) -> None:
        spec = self.spec = spec_file.spec
        self.blocks, self.bare = blocks, blocks.bare()
        self.responses = responses_of(spec_file, self.bare, default)
        self.extras = extras_of(spec_file, self.bare, self.responses)
        self.predictors = predictors_of(spec_file, self.bare, self.responses, self.extras)
        columns = (extra.column for extra in self.extras)
        used = [*self.responses, *self.predictors, *(name for name in columns if name is not None)]
        self.names = list(dict.fromkeys(used))
        early = spec.fit.early_stopping
        share = 0.0 if early is None else early.share
        self.parts = RowParts(sum(blocks.sizes), spec.seed, spec.data.split.test, share)
        self.learner, self.outsize = self._new()
        self.samples: dict[int, Sample] = {part: Sample() for part in (TRAIN, TEST, KEPT)}
        self.rows: dict[int, int] = dict.fromkeys(self.samples, 0)
        self.bare = dataclasses.replace(self.bare, table=self.bare.table.select(self.names))

    def _new(self) -> tuple[Learner, Outsize]:
        asked = self.spec, self.responses, self.predictors, self.extras
        return learner_of(*asked), outsize_of(*asked)

    def digest(self) -> str:
        """Return the SHA-256 of what tells this table from another before it is read."""
        seen = self.blocks.stamp, [*self.blocks.sizes], self.bare.table.schema.to_string()
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    @property
    def dropped(self) -> list[str]:
        """The columns without whose value a row is not used."""
        missing = self.spec.data.missing
        responses = self.responses if missing.responses == "drop" else []
        return [*responses, *(self.predictors if missing.predictors == "drop" else [])]

    def read(self, shards: Sequence[Sequence[Segment]], report: Report) -> dict[str, Any]:
        """Read shards that follow each other; return what each was found to hold, as plain data."""
        segments = [segment for shard in shards for segment in shard]

        def tell(done: int) -> None:
            first, last = segments[0], segments[-1]
            begin, end = first.first + first.start, last.first + last.stop
            report((done - begin) / (end - begin), f"reading {self.blocks.source}, row {done:,}")

        found = []
        for shard in shards:
            learner, outsize = self._new()
            training = [self._add(segment, learner, outsize, tell) for segment in shard]
            plain = {"learner": learner.plain(), "outsize": outsize.plain()}
            found.append(plain | {"training": training})
        rows = [self.rows[part] for part in self.samples]
        return {"shards": found, "rows": rows, "keys": [s.least() for s in self.samples.values()]}

    def join(self, readers: Readers, each: Sequence[dict[str, Any]]) -> None:
        """Put together what all readers found, in the order of the rows."""
        for shard in (shard for one in each for shard in one["shards"]):
            self.learner.join(shard["learner"])
            self.outsize.join(shard["outsize"])
        for i, (part, sample) in enumerate(self.samples.items()):
            self.rows[part] = sum(one["rows"][i] for one in each)
            sample.share(readers, [one["keys"][i] for one in each], self.bare)

    def _add(
        self, segment: Segment, learner: Learner, outsize: Outsize, tell: Callable[[int], None]
    ) -> int:
        """Read a segment; return the number of its training rows."""
        training = 0
        for rows, first, found in pieces(
            self.blocks, segment, self.names, self.parts, self.dropped
        ):
            check_types(rows, self.bare)
            where = {part: np.flatnonzero(found == part) for part in self.samples}
            used = np.flatnonzero(found >= 0)
            learner.add(rows, where[TRAIN])
            outsize.add(rows, used)
            check_responses(rows, learner)
            keys = self.parts.keys(first, first + len(found))
            for part, places in where.items():
                self.samples[part].add(rows.table, first, places, keys[places])
                self.rows[part] += len(places)
            training += len(where[TRAIN])
            tell(first + len(found))
        return training

    def data(self, shards: Sequence[Sequence[Segment]]) -> Data:
        """Return the data, when every segment was read."""
        settings = self.spec.data.stream
        assert settings is not None
        if not sum(self.rows.values()):
            raise InputError("every row has a missing value", file=self.blocks.source)
        encoding = self.learner.encoding(self.bare)
        self.outsize.check()
        self._check_kept()
        stream = Stream(
            self.blocks,
            encoding,
            self.names,
            self.parts,
            self.dropped,
            tuple(tuple(shard) for shard in shards),
            self.rows,
            settings.buffer,
            self.spec.fit.precision,
        )
        each = {part: self._part(encoding, sample) for part, sample in self.samples.items()}
        kept = each[KEPT] if self.spec.fit.early_stopping is not None else None
        return Data(encoding, each[TRAIN], each[TEST], self.blocks.source, kept, stream)

    def _part(self, encoding: Encoding, sample: Sample) -> Part:
        rows, numbers = sample.rows(self.bare)
        return Part(encoding.design(rows), encoding.response(rows), numbers)

    def _check_kept(self) -> None:
        early = self.spec.fit.early_stopping
        if early is not None and not self.rows[KEPT]:
            what = f"{early.share:g} of the training rows is none"
            remedy = "set a larger share, or give more rows"
            raise InputError(
                what, file=self.blocks.source, field="fit.early_stopping.share", remedy=remedy
            )
