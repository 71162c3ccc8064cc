"""Posteriors read with whatever ArviZ is installed, 0.x or 1.x; torch is not imported here.

Where torch is not installed, the files are written elsewhere, by `tests/posteriors.py`:

    PYROMOE_POSTERIORS=FOLDER pytest --confcutdir=tests/reading tests/reading
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
import xarray as xr

from pyromoe.inference.files.arviz_versions import (
    has_trees,
    leave_one_out,
    pareto_k,
    quiet_arviz,
    to_container,
    to_tree,
)
from pyromoe.inference.files.repeated import is_repeated, repeat
from pyromoe.inference.fitting.labels import chains, renumbered
from pyromoe.inference.runs.netcdf import to_netcdf

if TYPE_CHECKING:
    from collections.abc import Callable

matplotlib.use("Agg")
az = quiet_arviz()
FILES = [f"{f}-{w}" for f in ("normal", "categorical") for w in ("point", "mean_field", "nuts")]
FILES += ["normal-chains"]
SPREAD = [name for name in FILES if not name.endswith("point")]
GROUPS = {
    "posterior", "log_likelihood", "posterior_predictive", "prior_predictive", "observed_data",
    "constant_data", "sample_stats", "training",
}  # fmt: skip
VARIABLES = ["expert_slope", "gate_slope"]
every = pytest.mark.parametrize("name", FILES)
spread = pytest.mark.parametrize("name", SPREAD)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("PYROMOE_POSTERIORS")
    if given:
        return Path(given)
    made = tmp_path_factory.mktemp("posteriors")
    root = Path(__file__).parents[2]
    script = [sys.executable, str(root / "tests" / "posteriors.py"), str(made)]
    subprocess.run(script, check=True, env={**os.environ, "PYTHONPATH": str(root / "src")})
    return made


def read(folder: Path, name: str) -> Any:
    return az.from_netcdf(folder / f"{name}.nc")


@every
def test_a_posterior_has_every_group_with_its_dimensions(folder: Path, name: str) -> None:
    found = to_tree(read(folder, name))
    again: Any = xr.open_datatree(folder / f"{name}.nc", engine="h5netcdf")
    assert set(found.children) == set(again.children) == GROUPS
    posterior, chain = again["posterior"], {"nuts": 4, "chains": 2}.get(name.split("-")[1], 1)
    each = 120 // 4 if name.endswith("nuts") else 120
    assert posterior["z"].dims == ("chain", "draw", "obs")
    assert posterior["z"].shape == (chain, each, 40)
    assert posterior["z"].dtype == np.int8
    assert posterior["resp"].dims == ("chain", "draw", "obs", "expert")
    assert posterior["expert_slope"].dims[:4] == ("chain", "draw", "expert", "expert_predictor")
    assert again["log_likelihood"]["y"].dims == ("chain", "draw", "obs")
    for group in ("posterior_predictive", "prior_predictive"):
        assert again[group]["y"].dims == ("chain", "draw", "obs")
        assert np.isfinite(again[group]["y"]).all()
    of_training = ("restart", "epoch") if chain != 2 else ("fit", "restart", "epoch")
    assert again["training"]["loss"].dims == of_training
    assert ("diverging" in again["sample_stats"]) == name.endswith("nuts")
    assert again["sample_stats"]["lp"].dims == ("chain", "draw")
    for group in GROUPS:
        xr.testing.assert_identical(found[group].to_dataset(), again[group].to_dataset())
    assert again.attrs["treatment"] == ("enumerate" if chain != 2 else "gumbel_softmax")
    assert ("temperature" in again["training"]) == ("temperature" in again.attrs) == (chain == 2)


@spread
def test_leave_one_out_and_comparison(folder: Path, name: str) -> None:
    found = leave_one_out(read(folder, name))
    log_p = to_tree(read(folder, name))["log_likelihood"]["y"].stack(s=("chain", "draw"))
    in_sample = float((np.logaddexp.reduce(log_p.to_numpy(), -1) - np.log(log_p.sizes["s"])).sum())
    # Inverse likelihoods as weights: what Pareto smoothing keeps from going astray.
    plain = float((np.log(log_p.sizes["s"]) - np.logaddexp.reduce(-log_p.to_numpy(), -1)).sum())
    assert plain - 2 < found["elpd_loo"] < in_sample
    assert found["loo_se"] > 0


@pytest.mark.filterwarnings("ignore")  # Pareto's k, and what ArviZ asks of pandas
@pytest.mark.parametrize("family", ["normal", "categorical"])
def test_models_are_compared(folder: Path, family: str) -> None:
    each = {w: read(folder, f"{family}-{w}") for w in ("mean_field", "nuts")}
    table = az.compare(each, **({"round_to": "none"} if has_trees() else {}))
    elpd = table["elpd" if has_trees() else "elpd_loo"]
    known = {w: leave_one_out(found)["elpd_loo"] for w, found in each.items()}
    assert dict(elpd) == pytest.approx(known)
    assert table.index[0] == max(known, key=lambda w: known[w])


@pytest.mark.parametrize("family", ["normal", "categorical"])
def test_of_a_point_nothing_is_left_out(folder: Path, family: str) -> None:
    """Its draws have one likelihood: 1.x refuses, 0.x warns and returns that of the rows."""
    found = read(folder, f"{family}-point")
    if has_trees():
        with pytest.raises(ValueError, match="same"):
            az.loo(found)
        return
    tree: Any = to_tree(found)
    total = float(tree["log_likelihood"]["y"][0, 0].sum())
    with pytest.warns(UserWarning, match="Pareto"):
        assert float(az.loo(found).elpd_loo) == pytest.approx(total, rel=1e-5)


@every
def test_a_summary_has_the_means(folder: Path, name: str) -> None:
    found = read(folder, name)
    options: dict[str, Any] = {"round_to": "none"} if has_trees() else {"round_to": 12}
    table = az.summary(found, var_names=["expert_slope"], kind="stats", **options)
    mean = to_tree(found)["posterior"]["expert_slope"].mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose(table["mean"].to_numpy(dtype=float), mean.ravel(), rtol=1e-4)


def of_coefficients(name: str) -> Callable[[Any], Any]:
    return lambda found: getattr(az, f"plot_{name}")(found, var_names=VARIABLES)


def plots() -> dict[str, Callable[[Any], Any]]:
    """The plots of this version, by name; those that leave rows out need a spread."""
    own = ("dist", "trace_dist") if has_trees() else ("posterior",)
    found = {name: of_coefficients(name) for name in ("trace", "forest", "autocorr", *own)}
    found["loo_khat"] = lambda d: az.plot_khat(loo(d))
    if has_trees():
        found["predicted"] = lambda d: az.plot_ppc_dist(d, group="posterior_predictive")
        found["prior"] = lambda d: az.plot_ppc_dist(d, group="prior_predictive")
        found["loo_pit"] = lambda d: az.plot_loo_pit(d)
        return found
    found["predicted"] = lambda d: az.plot_ppc(d, num_pp_samples=5)
    found["prior"] = lambda d: az.plot_ppc(d, group="prior", num_pp_samples=5)
    found["loo_pit"] = lambda d: az.plot_loo_pit(d, y="y")
    return found


def loo(found: Any) -> Any:
    return az.loo(found, pointwise=True)


@pytest.mark.filterwarnings("ignore")  # Pareto's k, and what ArviZ asks of Matplotlib
@pytest.mark.parametrize(
    ("name", "plot"),
    [
        (name, plot)
        for name in ("normal-nuts", "categorical-mean_field", "normal-point")
        for plot in plots()
        if name in SPREAD or not plot.startswith("loo")
    ],
)
def test_plots_are_drawn(folder: Path, name: str, plot: str) -> None:
    assert plots()[plot](read(folder, name)) is not None
    matplotlib.pyplot.close("all")


def arrays(draws: int = 30, rows: int = 6, experts: int = 3) -> xr.DataTree:
    """A posterior of plain arrays, what does not change being a view."""
    generator = np.random.default_rng(0)
    r = generator.dirichlet(np.ones(experts), (1, rows)).astype(np.float32)
    log_p = generator.normal(size=(1, rows)).astype(np.float32)
    slope = generator.normal(size=(1, experts, 2)).astype(np.float32)
    z = generator.integers(experts, size=(1, draws, rows)).astype(np.int8)
    sample = ("chain", "draw")
    groups = {
        "posterior": xr.Dataset(
            {
                "z": ((*sample, "obs"), z),
                "resp": ((*sample, "obs", "expert"), repeat(r, draws)),
                "expert_slope": ((*sample, "expert", "expert_predictor"), repeat(slope, draws)),
            },
            {"expert_predictor": np.array(["a", "b"], dtype=object)},
        ),
        "log_likelihood": xr.Dataset({"y": ((*sample, "obs"), repeat(log_p, draws))}),
        "constant_data": xr.Dataset({"row": (("obs",), np.arange(rows))}),
        "sample_stats": xr.Dataset({"diverging": (sample, np.zeros((1, draws), dtype=bool))}),
    }
    coords = {"chain": [0], "draw": range(draws), "obs": range(rows), "expert": range(experts)}
    for name, group in groups.items():
        known = {n: list(c) for n, c in coords.items() if n in group.dims}
        groups[name] = group.assign_coords(known)
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"treatment": "enumerate"}), **groups})


def test_arrays_become_what_arviz_works_with_and_a_file(tmp_path: Path) -> None:
    tree: Any = arrays()
    container = to_container(tree)
    inside: Any = to_tree(container)
    assert is_repeated(inside["posterior"]["resp"])
    (tmp_path / "ours.nc").write_bytes(to_netcdf(container))
    container.to_netcdf(str(tmp_path / "arvizs.nc"))
    for file in ("ours.nc", "arvizs.nc"):
        found = to_tree(az.from_netcdf(tmp_path / file))
        for name, group in tree.children.items():
            xr.testing.assert_equal(found[name].to_dataset(), group.to_dataset())
        assert found["posterior"]["z"].dtype == np.int8
        assert found["sample_stats"]["diverging"].dtype == bool


@pytest.mark.parametrize(("draws", "rows", "experts"), [(1, 4, 2), (2, 1, 3), (700, 33, 40)])
def test_repeats_are_written_whatever_their_size(
    monkeypatch: pytest.MonkeyPatch, draws: int, rows: int, experts: int
) -> None:
    for name, value in (("CHUNK", 2**12), ("PERIOD", 2**9), ("AT_ONCE", 3)):
        monkeypatch.setattr(f"pyromoe.inference.runs.netcdf.{name}", value)
    tree = arrays(draws, rows, experts)
    with xr.open_datatree(bytes(to_netcdf(tree)), engine="h5netcdf") as found:
        for name, group in tree.children.items():
            xr.testing.assert_equal(found[name].to_dataset(), group.to_dataset())


def test_chains_of_views_are_views() -> None:
    tree = arrays()
    whole: Any = chains([tree, renumbered(tree, np.array([2, 0, 1])), tree])
    posterior = whole["posterior"]
    assert is_repeated(posterior["resp"])
    assert is_repeated(posterior["expert_slope"])
    assert is_repeated(whole["log_likelihood"]["y"])
    assert posterior["resp"].shape == (3, 30, 6, 3)
    for name in ("resp", "z", "expert_slope"):
        for c in (1, 2):
            np.testing.assert_array_equal(posterior[name][c], posterior[name][0])
    np.testing.assert_array_equal(posterior["chain"], [0, 1, 2])


def test_paretos_k_is_that_of_the_tail() -> None:
    """Ratios of a Pareto distribution; 0.3 is what 2,000 draws leave open."""
    uniform = (np.arange(2000) + 0.5) / 2000
    for k in (0.3, 0.9):
        assert pareto_k(-k * np.log(uniform)) == pytest.approx(k, abs=0.3)


def test_torch_is_not_needed() -> None:
    code = (
        "import sys; from pyromoe.inference.fitting import labels, training; "
        "from pyromoe.inference.files import arviz_versions; "
        "from pyromoe.inference.runs import netcdf; "
        "sys.exit('torch' in sys.modules)"
    )
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})
