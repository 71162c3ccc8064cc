"""What is handed to ArviZ: of every treatment, family and guide of the weights."""

from __future__ import annotations

import dataclasses
import functools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from test_families import LEVELS, OFFSETS, table_of

from pyromoe.inference import fit, to_arviz, to_datatree, to_netcdf
from pyromoe.inference.files.arviz_versions import to_tree
from pyromoe.inference.files.repeated import is_repeated, repeat
from pyromoe.inference.files.verified import seal
from pyromoe.inference.fitting.probabilities import to_tensors
from pyromoe.inference.posterior.draws import posterior_draws
from pyromoe.inference.runs.store import load_fit, save_fit
from pyromoe.inference.treatments import TREATMENTS
from pyromoe.models import parse_spec
from pyromoe.models.likelihoods import FAMILIES

GROUPS = {
    "posterior", "log_likelihood", "posterior_predictive", "prior_predictive", "observed_data",
    "constant_data", "sample_stats", "training",
}  # fmt: skip
WEIGHTS = ("point", "mean_field", "low_rank", "full_rank", "flow", "laplace", "nuts")


def table(n: int = 40) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=n)
    return {"x": x, "y": np.where(x > 0, 2 * x, -x) + 0.3 * generator.normal(size=n)}


def fitted(more: str = "", rows: dict[str, Any] | None = None, **sections: str) -> Any:
    known = {
        "data": "response: y, split: {test: 0.0}",
        "likelihood": "family: normal",
        "experts": "number: 3",
        "fit": "restarts: 2, epochs: 1, batch_size: full",
        "output": "draws: 8",
    } | sections
    lines = [f"{name}: {{{text}}}" for name, text in known.items()]
    spec = parse_spec("\n".join([*lines, more]), "s")
    return fit(spec, table() if rows is None else rows)


@functools.cache
def drawn_by_nuts(seed: int) -> Any:
    guide, output = "weights: nuts, warmup: 10", "draws: 16"
    return fitted(f"seed: {seed}", experts="number: 2", guide=guide, output=output)


def check(found: Any, tree: Any) -> None:
    """What holds of every fit."""
    posterior, n = tree["posterior"].to_dataset(), len(found.data.train.rows)
    assert set(tree.children) == GROUPS
    assert posterior["z"].dims == ("chain", "draw", "obs")
    assert posterior["z"].dtype == np.int8
    assert posterior["resp"].dims == ("chain", "draw", "obs", "expert")
    assert posterior["resp"].sizes["obs"] == n
    np.testing.assert_allclose(posterior["resp"].sum("expert"), 1, rtol=1e-5)
    likely = posterior["resp"].isel(expert=posterior["z"].astype(int))
    assert (likely > 0).all()  # no row is given to an expert that cannot have drawn it
    for name in posterior.data_vars:
        assert posterior[name].dims[:2] == ("chain", "draw")
        assert not [d for d in posterior[name].dims if str(d).startswith("dim_")]
    assert np.isfinite(tree["log_likelihood"]["y"]).all()
    assert tree["log_likelihood"]["y"].shape == posterior["z"].shape
    observed = tree["observed_data"]["y"]
    for group in ("posterior_predictive", "prior_predictive"):
        assert tree[group]["y"].dims == ("chain", "draw", *observed.dims)
        assert tree[group]["y"].sizes["obs"] == n
    assert np.isfinite(tree["posterior_predictive"]["y"]).all()
    assert tree["sample_stats"]["lp"].shape == posterior["z"].shape[:2]
    training = tree["training"].to_dataset()
    assert training["loss"].dims == ("restart", "epoch")
    assert np.isfinite(training["loss"]).any()
    for name in ("treatment", "objective", "guide", "seed", "torch_version", "pyro_version"):
        assert tree.attrs[name]
        assert tree["posterior"].attrs[name] == tree.attrs[name]
    again = xr.open_datatree(bytes(to_netcdf(to_arviz(found))), engine="h5netcdf")
    for name in GROUPS:
        xr.testing.assert_identical(again[name].to_dataset(), tree[name].to_dataset())


@pytest.mark.parametrize("name", list(TREATMENTS))
def test_every_treatment_is_handed_on(name: str) -> None:
    found = fitted(f"treatment: {name}")
    tree: Any = to_datatree(found)
    check(found, tree)
    total = float(tree["log_likelihood"]["y"][0, 0].sum())
    assert total == pytest.approx(found.metrics["log_likelihood"]["train"], rel=1e-5)
    assert tree.attrs["treatment"] == name
    has_one = "temperature" in {f.name for f in dataclasses.fields(TREATMENTS[name].config)}
    assert ("temperature" in tree.attrs) == ("temperature" in tree["training"]) == has_one


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_guide_of_the_weights_is_handed_on(weights: str) -> None:
    if weights == "nuts":
        found = drawn_by_nuts(0)
    else:
        found = fitted(guide=f"weights: {weights}", fit="restarts: 1, epochs: 20")
    tree: Any = to_datatree(found)
    check(found, tree)
    moving = float(tree["posterior"]["resp"].std(("chain", "draw")).max())
    assert (moving > 0) == (weights != "point") == found.guide.weights.spread
    assert tree.attrs["guide_of_weights"] == weights
    assert ("diverging" in tree["sample_stats"]) == (weights == "nuts")


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_is_handed_on(family: str) -> None:
    if family == "multivariate_normal":
        rows = table() | {"w": table()["x"] ** 2}
        data = "response: [y, w], split: {test: 0.0}"
    else:
        rows = {name: values[:40] for name, values in table_of(family)[0].items()}
        extras = ", offset: offset" if family in OFFSETS else ""
        extras += ", trials: n" if "trials" in FAMILIES[family].required else ""
        data = f"response: y, predictors: [x], split: {{test: 0.0}}{extras}"
    levels = f", levels: [{', '.join(LEVELS)}]" if family == "ordinal" else ""
    found = fitted(rows=rows, data=data, likelihood=f"family: {family}{levels}")
    check(found, to_datatree(found))
    assert np.isfinite(to_datatree(found)["prior_predictive"]["y"]).all()


def test_experts_of_several_families_are_handed_on() -> None:
    likelihood = "family: mixed, experts: [{family: student_t}, {family: normal}]"
    found = fitted(likelihood=likelihood, experts="number: 2")
    check(found, to_datatree(found))


def test_groups_and_gaps_are_handed_on() -> None:
    """Groups of unequal size and a missing response: NaN where there is none, and there alone."""
    rows = table(20)
    rows["g"] = np.repeat(np.arange(8), [4, 3, 2, 2, 3, 2, 2, 2])
    rows["y"][5] = np.nan
    data = "response: y, predictors: [x], group: g, split: {test: 0.0}"
    data += ", missing: {responses: marginalise}"
    tree: Any = to_datatree(fitted(rows=rows, data=data))
    absent = tree["constant_data"]["row"].to_numpy() < 0
    for group in ("posterior_predictive", "prior_predictive"):
        y = tree[group]["y"]
        assert y.dims == ("chain", "draw", "obs", "member")
        np.testing.assert_array_equal(np.isnan(y[0, 0]), absent)


# What is said


def test_the_prior_predictive_is_drawn_from_the_prior() -> None:
    """One line: y = a + b x + e, a and b ~ Normal(0, s^2), so that the variance is known."""
    s, more = 3.0, "gate: {kind: equal}"
    data = "response: y, split: {test: 0.0}, standardise: none"
    priors = f"experts: {{kind: normal, scale: {s}}}"
    found = fitted(more, data=data, priors=priors, experts="number: 1", output="draws: 100")
    tree, sd = to_datatree(found), float(found.model.likelihood.log_scale.detach().exp()) + 1e-4
    x, y = tree["constant_data"]["x"].to_numpy()[:, 0], tree["prior_predictive"]["y"].to_numpy()[0]
    fewest, most = np.argsort(np.abs(x))[[0, -1]]
    for row in (fewest, most):
        variance = s**2 * (1 + x[row] ** 2) + sd**2
        assert abs(y[:, row].mean()) < 4 * math.sqrt(variance / 100)
        assert abs((y[:, row] ** 2).mean() / variance - 1) < 4 * math.sqrt(2 / 100)
    # Rows of a draw share their weights: two of them are as correlated as their predictors say.
    a, b = y[:, fewest], y[:, most]
    expected = s**2 * (1 + x[fewest] * x[most])
    error = 4 * math.sqrt((expected**2 + np.var(a) * np.var(b)) / 100)
    assert abs((a * b).mean() - expected) < error
    assert tree.attrs["priors"] == "of experts"


def test_without_a_prior_there_is_no_prior_predictive() -> None:
    tree: Any = to_datatree(fitted(priors="experts: {kind: none}, gate: {kind: none}"))
    assert set(tree.children) == GROUPS - {"prior_predictive"}
    assert tree.attrs["priors"] == "none, and so no prior_predictive"


def test_the_history_is_that_of_the_fit() -> None:
    """Every value of every row, and NaN for the rest; the seconds alone are left out."""
    treatment = "treatment: {name: gumbel_softmax, temperature: {start: 1.0, end: 0.25}}"
    found = fitted(treatment, fit="restarts: 3, epochs: 60, batch_size: 16")
    training = to_datatree(found)["training"].to_dataset()
    assert training.sizes == {"restart": 3, "epoch": 60}
    for row in found.history:
        at = training.sel(restart=row["restart"], epoch=row["epoch"])
        for name in set(row) - {"restart", "epoch", "seconds"}:
            expected = math.nan if row[name] is None else row[name]
            np.testing.assert_equal(float(at[name]), expected)
    assert set(training.data_vars) == {*found.history[0]} - {"restart", "epoch", "seconds"}
    assert training["temperature"][0, 0] > 0.9
    last = float(training["temperature"][0, -1])
    assert float(to_datatree(found).attrs["temperature"]) == pytest.approx(last, rel=1e-5)
    assert 0.25 <= last < 0.27


def test_divergences_are_those_of_the_metrics_and_are_kept(tmp_path: Any) -> None:
    found = drawn_by_nuts(1)
    diverging = to_datatree(found)["sample_stats"]["diverging"]
    assert diverging.dtype == bool
    assert int(diverging.sum()) == found.metrics["nuts"]["divergences"]
    found.guide.weights.diverging[2, 3] ^= True
    (tmp_path / "run").mkdir()
    save_fit(found, tmp_path / "run", tmp_path / "run")
    seal(tmp_path / "run")
    again = dataclasses.replace(load_fit(tmp_path / "run"), data=found.data)
    changed = to_datatree(again)["sample_stats"]["diverging"] != diverging
    assert np.argwhere(changed.to_numpy()).tolist() == [[2, 3]]


# Chains


def test_fits_become_chains_with_every_group() -> None:
    treatment = "treatment: {name: gumbel_softmax, temperature: 0.5}"
    found = [
        fitted(),
        fitted("seed: 1"),
        fitted(treatment, fit="restarts: 1, epochs: 3, batch_size: full"),
    ]
    whole: Any = to_tree(to_arviz(found))
    assert set(whole.children) == GROUPS
    for name in GROUPS - {"observed_data", "constant_data", "training"}:
        group = whole[name].to_dataset()
        assert group.sizes["chain"] == 3
        np.testing.assert_array_equal(group["chain"], [0, 1, 2])
    training = whole["training"].to_dataset()
    assert training.sizes == {"fit": 3, "restart": 2, "epoch": 3}
    assert int(np.isfinite(training["loss"]).sum()) == 2 + 2 + 3
    assert int((training["temperature"] == 0.5).sum()) == 3
    for i, one in enumerate(found):
        alone: Any = to_datatree(one)
        for name in ("posterior_predictive", "prior_predictive", "log_likelihood"):
            np.testing.assert_array_equal(whole[name]["y"][i], alone[name]["y"][0])
        np.testing.assert_array_equal(
            whole["sample_stats"]["lp"][i], alone["sample_stats"]["lp"][0]
        )
    assert whole.attrs["seed"] == "0, 1, 0"
    assert whole.attrs["treatment"] == "enumerate, enumerate, gumbel_softmax"
    assert whole.attrs["temperature"] == "none, none, 0.5"


def test_what_some_fits_lack_is_left_out_of_their_chains() -> None:
    nuts = [drawn_by_nuts(seed) for seed in (0, 1)]
    both: Any = to_tree(to_arviz(nuts))
    assert both["posterior"]["z"].sizes["chain"] == 8
    assert both["sample_stats"]["diverging"].sizes["chain"] == 8
    point = fitted(experts="number: 2", output="draws: 4")
    plain = fitted(
        experts="number: 2, kind: mlp, hidden: [3]",
        output="draws: 4",
        priors="experts: {kind: none}, gate: {kind: none}",
    )
    whole: Any = to_tree(to_arviz([point, plain, nuts[0]]))
    assert set(whole.children) == GROUPS - {"prior_predictive"}
    assert "expert_slope" not in whole["posterior"]
    assert "scale" in whole["posterior"]
    assert "diverging" not in whole["sample_stats"]
    assert whole["posterior"]["resp"].dims == ("chain", "draw", "obs", "expert")
    assert whole["posterior"]["resp"].sizes["chain"] == 6
    assert not is_repeated(whole["posterior"]["resp"])


# Memory


def test_what_is_the_same_in_every_draw_is_there_once() -> None:
    found = fitted(output="draws: 300")
    same = {"posterior": ("resp", "expert_slope", "gate_slope", "scale"), "log_likelihood": ("y",)}
    for whole in (to_arviz(found), to_arviz([found, found])):
        tree: Any = to_tree(whole)
        for group, names in same.items():
            assert all(is_repeated(tree[group][name]) for name in names)
        assert not is_repeated(tree["posterior"]["z"])
    assert to_datatree(fitted(experts="number: 200"))["posterior"]["z"].dtype == np.int16


def test_a_file_is_written_without_laying_its_repeats_out() -> None:
    """Of 320 MB that are the same in every draw, a tenth is in memory at a time."""
    r = np.random.default_rng(0).dirichlet(np.ones(8), (1, 20_000)).astype(np.float32)
    values = (("chain", "draw", "obs", "expert"), repeat(r, 500))
    tree: Any = xr.DataTree.from_dict({"posterior": xr.Dataset({"resp": values})})
    size = tree["posterior"]["resp"].nbytes
    tracemalloc.start()
    try:
        file = to_netcdf(tree)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 320_000_000
    assert peak < size / 5
    assert len(file) < size / 20
    with xr.open_datatree(bytes(file), engine="h5netcdf") as opened:
        again: Any = opened
        for draw in (0, 499):
            np.testing.assert_array_equal(again["posterior"]["resp"][0, draw], r[0])


def test_a_variable_without_numbers_is_written() -> None:
    """The slopes of a network without predictors, for instance."""
    dims = ("chain", "draw", "expert", "gate_predictor")
    group = xr.Dataset({"gate_slope": (dims, repeat(np.zeros((1, 2, 0)), 5))})
    written = bytes(to_netcdf(xr.DataTree.from_dict({"posterior": group})))
    with xr.open_datatree(written, engine="h5netcdf") as tree:
        assert tree["posterior"]["gate_slope"].shape == (1, 5, 2, 0)


def test_draws_in_parts_are_draws_of_the_same_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw at a time: other z, but each as probable as resp says."""
    found = fitted(output="draws: 400", fit="restarts: 1, epochs: 30, batch_size: full")
    monkeypatch.setattr("pyromoe.inference.posterior.draws.AT_ONCE", 1)
    x, y = to_tensors(found.data.train, found.spec)
    drawn = posterior_draws(found, x, y)
    r, z, predicted = drawn["resp"][0, 0], drawn["z"][0], drawn["predictive"][0]
    assert z.shape == predicted.shape == (400, 40)
    assert np.unique(predicted[:, 0]).size == 400  # no two parts have one seed
    for k in range(3):
        error = np.sqrt(r[:, k] * (1 - r[:, k]) / 400) + 1e-9
        off = np.abs((z == k).mean(0) - r[:, k]) / error
        assert off[error > 1e-3].max() < 4.5
    joint = found.log_joint(x, y)
    lp = joint.gather(-1, torch.from_numpy(z.astype(np.int64)).T).sum(0)
    np.testing.assert_allclose(drawn["lp"][0], lp)
