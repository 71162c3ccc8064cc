"""What is looked for in every piece of a streamed table beside what is learned from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.models.data.encoding import check_trials
from pyromoe.models.data.learn import AS_PREDICTOR, AS_RESPONSE
from pyromoe.models.tables.columns import NUMBER, is_numeric, numbers
from pyromoe.models.tables.missing import filled, is_there
from pyromoe.models.tables.responses import RESPONSES

if TYPE_CHECKING:
    from pyromoe.models.data.learn import Learner
    from pyromoe.models.tables.blocks import Blocks
    from pyromoe.models.tables.table import Rows


def refuse_text(blocks: Blocks, bare: Rows, learner: Learner) -> None:
    """Refuse a column of text where numbers are asked for, naming the first that is none.

    Args:
        blocks: the table.
        bare: its columns.
        learner: what they are to become.
    """
    advice = {extra.column: "correct it" for extra in learner.extras if extra.column is not None}
    for name in learner.predictors:
        if name not in learner.categorical:
            advice[name] = AS_PREDICTOR
    for name, families, _ in learner.responses:
        if not RESPONSES[families[0]].classes:
            advice[name] = AS_RESPONSE
    for name, remedy in advice.items():
        if is_numeric(bare.table.schema.field(name).type):
            continue
        for block, size in enumerate(blocks.sizes):
            for rows in blocks.read(block, 0, size, [name]):
                words = rows.table.column(name).drop_null().to_pylist()
                if not all(NUMBER.fullmatch(word) for word in words):
                    numbers(rows, name, remedy)
        for rows in blocks.read(0, 0, blocks.sizes[0], [name]):
            numbers(rows, name, remedy)


def check_types(rows: Rows, bare: Rows) -> None:
    """Refuse a column of decimals some of which are no floats."""
    for field in bare.table.schema:
        if rows.table.schema.field(field.name).type != field.type:
            what = "has numbers of more digits than a float holds"
            raise rows.error(field.name, what, "round them")


def check_responses(rows: Rows, learner: Learner) -> None:
    """Refuse a value that the family cannot have."""
    for name, families, _ in learner.responses:
        if RESPONSES[families[0]].classes:
            continue
        if learner.incomplete[0]:
            if not is_there(rows, name).any():
                continue
            rows, _ = filled(rows, name)
        for family in families:
            read = RESPONSES[family].read
            assert read is not None  # it has no classes
            values = read(rows, name)
        if RESPONSES[families[0]].trials:
            check_trials(rows, name, values, learner.extras)
