"""What a notebook shows where a result is the last line of a cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyromoe.inference import coefficients, compare, fit, gradients, select, to_arviz
from pyromoe.inference.fitting.natural import Natural
from pyromoe.inference.maximum_likelihood.standard_errors import standard_errors
from pyromoe.inference.pictures import rows_of
from pyromoe.inference.summaries.model import model_sentences
from pyromoe.models import InputError
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from pyromoe.inference import Fit
    from pyromoe.models import SpecFile


def spec(more: str = "fit: {epochs: 2, restarts: 1}", number: int = 2) -> SpecFile:
    return parse_spec(
        f"data: {{dataset: engel}}\nlikelihood: {{family: normal}}\n"
        f"experts: {{number: {number}}}\n{more}\n",
        "s.yaml",
    )


@pytest.fixture(scope="module")
def maximum() -> Fit:
    priors = "priors: {experts: {kind: none}, gate: {kind: none}}"
    settings = "fit: {precision: float64, restarts: 4, optimiser: lbfgs}\noutput: {draws: 3}"
    return fit(spec(f"{priors}\n{settings}"))


def test_a_fit_shows_what_it_is_and_how_good(maximum: Fit) -> None:
    lines = repr(maximum).splitlines()
    named, others = lines[:3], lines[3:]
    assert named == [*model_sentences(maximum.spec, "foodexp")]
    assert "family normal of foodexp" in named[0]
    metrics, text = maximum.metrics, "\n".join(others)
    for part, said in (("test", "held-out"), ("train", "training")):
        value = f"{metrics['log_likelihood'][part]:.2f} nats"
        assert f"log p(y|x) of the {metrics['n'][part]} {said} rows: {value}" in text
    assert f"rmse, held-out rows: {metrics['rmse']:.4g}." in others
    assert f"{metrics['effective_experts']:.2f} of 2 experts in use." in others
    assert "lbfgs from 4 starts, 4 converged." in others
    assert repr(replace(maximum, metrics={})).splitlines() == named


def test_other_results_show_what_they_say_in_words() -> None:
    side_by_side = compare(spec(), treatments=["enumerate"], seeds=[0])
    assert repr(side_by_side) == side_by_side.summary
    chosen = select(spec(), experts=[1], folds=2)
    assert repr(chosen) == chosen.recommendation
    lab = gradients(spec(), treatments=["enumerate"], draws=2)
    assert repr(lab) == lab.recommendation


def test_coefficients_are_a_table_with_errors(maximum: Fit) -> None:
    table = coefficients(maximum)
    natural = Natural(maximum.model, maximum.guide, maximum.encoding)()
    for column, named in (("value", natural), ("standard_error", standard_errors(maximum))):
        flat = [v.detach().numpy().ravel() for _, v in named.values()]
        np.testing.assert_array_equal(table[column], np.concatenate(flat))
    slopes = [row for row in table.to_pylist() if row["parameter"] == "expert_slope"]
    assert [(row["of"], row["expert"]) for row in slopes] == [("income", 0), ("income", 1)]
    wider = coefficients(maximum, "sandwich")
    assert wider.column_names == table.column_names
    assert not np.allclose(wider["standard_error"], table["standard_error"])
    assert coefficients(maximum, "none")["standard_error"].null_count == table.num_rows
    done: list[float] = []
    some = coefficients(
        maximum, "bootstrap", draws=3, progress=lambda share, text: done.append(share)
    )
    assert done == [1 / 3, 2 / 3, 1]
    assert np.isfinite(some["standard_error"]).all()


def test_coefficients_away_from_a_maximum_have_no_errors() -> None:
    away = fit(spec())
    with pytest.raises(InputError, match="not at a maximum"):
        coefficients(away)
    assert coefficients(away, "none").num_rows == 10


def test_rows_come_from_the_fit_or_from_any_form_of_its_posterior(maximum: Fit) -> None:
    own, given = rows_of(maximum), rows_of(maximum, to_arviz(maximum))
    np.testing.assert_array_equal(own.responsibilities, given.responsibilities)
    np.testing.assert_array_equal(own.x, given.x)
    np.testing.assert_array_equal(own.y, given.y)
