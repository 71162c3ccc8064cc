"""The first pass over a table that is read in blocks: every value checked, the encoding learned."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from pyromoe.models.columns import NUMBER, is_numeric, numbers
from pyromoe.models.divide import Data, Part
from pyromoe.models.encoding import check_trials
from pyromoe.models.errors import InputError
from pyromoe.models.learn import AS_PREDICTOR, AS_RESPONSE
from pyromoe.models.learned import learner_of, outsize_of
from pyromoe.models.missing import filled, is_there
from pyromoe.models.responses import RESPONSES
from pyromoe.models.roles import extras_of, predictors_of, responses_of
from pyromoe.models.row_parts import KEPT, TEST, TRAIN, RowParts
from pyromoe.models.sample import Sample
from pyromoe.models.stream import Stream, pieces, shards_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyromoe.models.blocks import Blocks
    from pyromoe.models.encoding import Encoding
    from pyromoe.models.spec_file import SpecFile
    from pyromoe.models.stream import Segment
    from pyromoe.models.table import Rows

    Report = Callable[[float, str], None]


def first_pass(
    spec_file: SpecFile, blocks: Blocks, default: str | None, shards: int, report: Report
) -> Data:
    """Read a table once.

    Args:
        spec_file: what is to become of it, with `data.stream`.
        blocks: the table.
        default: the response, where the spec does not name one.
        shards: S, into how many the rows are divided.
        report: called with the share that is done and what is being done.

    Returns:
        The data, of which a sample of each part is in memory, and the stream of all.
    """
    survey = Survey(spec_file, blocks, default)
    survey.refuse_text()
    segments = [
        [survey.add(segment, report) for segment in shard]
        for shard in shards_of(blocks.sizes, shards)
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
        self.learner = learner_of(spec, self.responses, self.predictors, self.extras)
        self.outsize = outsize_of(spec, self.responses, self.predictors, self.extras)
        self.samples: dict[int, Sample] = {part: Sample() for part in (TRAIN, TEST, KEPT)}
        self.rows: dict[int, int] = dict.fromkeys(self.samples, 0)
        self.bare = dataclasses.replace(self.bare, table=self.bare.table.select(self.names))

    def refuse_text(self) -> None:
        """Refuse a column of text where numbers are asked for, naming the first that is none."""
        advice = {extra.column: "correct it" for extra in self.extras if extra.column is not None}
        for name in self.predictors:
            if name not in self.spec.data.categorical:
                advice[name] = AS_PREDICTOR
        for name, families, _ in self.learner.responses:
            if not RESPONSES[families[0]].classes:
                advice[name] = AS_RESPONSE
        for name, remedy in advice.items():
            if is_numeric(self.bare.table.schema.field(name).type):
                continue
            for block, size in enumerate(self.blocks.sizes):
                for rows in self.blocks.read(block, 0, size, [name]):
                    words = rows.table.column(name).drop_null().to_pylist()
                    if not all(NUMBER.fullmatch(word) for word in words):
                        numbers(rows, name, remedy)
            for rows in self.blocks.read(0, 0, self.blocks.sizes[0], [name]):
                numbers(rows, name, remedy)

    @property
    def dropped(self) -> list[str]:
        """The columns without whose value a row is not used."""
        missing = self.spec.data.missing
        responses = self.responses if missing.responses == "drop" else []
        return [*responses, *(self.predictors if missing.predictors == "drop" else [])]

    def add(self, segment: Segment, report: Report) -> Segment:
        """Read a segment; return it with the number of its training rows."""
        training = 0
        for rows, first, found in pieces(
            self.blocks, segment, self.names, self.parts, self.dropped
        ):
            self._check_types(rows)
            where = {part: np.flatnonzero(found == part) for part in self.samples}
            used = np.flatnonzero(found >= 0)
            self.learner.add(rows, where[TRAIN])
            self.outsize.add(rows, used)
            self._check_responses(rows)
            keys = self.parts.keys(first, first + len(found))
            for part, places in where.items():
                self.samples[part].add(rows.table, first, places, keys[places])
                self.rows[part] += len(places)
            training += len(where[TRAIN])
            done = first + len(found)
            report(done / self.parts.rows, f"reading {self.blocks.source}, row {done:,}")
        return dataclasses.replace(segment, training=training)

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

    def _check_types(self, rows: Rows) -> None:
        """Refuse a column of decimals some of which are no floats."""
        for field in self.bare.table.schema:
            if rows.table.schema.field(field.name).type != field.type:
                what = "has numbers of more digits than a float holds"
                raise rows.error(field.name, what, "round them")

    def _check_responses(self, rows: Rows) -> None:
        """Refuse a value that the family cannot have."""
        for name, families, _ in self.learner.responses:
            if RESPONSES[families[0]].classes:
                continue
            if self.learner.incomplete[0]:
                if not is_there(rows, name).any():
                    continue
                rows, _ = filled(rows, name)
            for family in families:
                read = RESPONSES[family].read
                assert read is not None  # it has no classes
                values = read(rows, name)
            if RESPONSES[families[0]].trials:
                check_trials(rows, name, values, self.extras)

    def _check_kept(self) -> None:
        early = self.spec.fit.early_stopping
        if early is not None and not self.rows[KEPT]:
            what = f"{early.share:g} of the training rows is none"
            remedy = "set a larger share, or give more rows"
            raise InputError(
                what, file=self.blocks.source, field="fit.early_stopping.share", remedy=remedy
            )
