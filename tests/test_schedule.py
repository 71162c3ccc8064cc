"""Schedules: their ends, their course, and what they refuse."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest

from pyromoe.inference import Schedule

KINDS = get_args(get_type_hints(Schedule)["schedule"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_goes_from_start_to_end_and_never_back(kind: str) -> None:
    schedule = Schedule(1.0, 0.25, kind)  # type: ignore[arg-type]
    values = [schedule.at(i / 20) for i in range(21)]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(1.0 if kind == "constant" else 0.25)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("constant", 1.0),
        ("linear", 1 - 0.75 / 4),
        ("exponential", 0.25**0.25),
        ("cosine", 0.25 + 0.375 * (1 + math.sqrt(0.5))),
    ],
)
def test_a_quarter_of_the_way(kind: str, value: float) -> None:
    assert Schedule(1.0, 0.25, kind).at(0.25) == pytest.approx(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [(1.0, 0.0), (-1.0, 0.5)])
def test_an_exponential_course_needs_positive_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive ends"):
        Schedule(*ends)
    Schedule(*ends, schedule="linear")
