"""The command, as a user meets it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
import xarray as xr
from command import Result, called

from pyromoe.inference.commands import compare as compare_command, fit as fit_command
from pyromoe.inference.fitting import evaluation
from pyromoe.inference.treatments import TREATMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
METRICS = {
    "log_likelihood", "n", "parameters", "aic", "bic", "icl", "effective_experts", "restarts",
    "treatment", "objective", "seconds", "parameters_sha256", "versions",
}  # fmt: skip
ROW = {
    "treatment", "objective", "seed", "unbiased", "evaluations", "test_log_likelihood",
    "effective_experts", "steps", "steps_per_second", "seconds",
}  # fmt: skip


Run = "Callable[..., Result]"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    torch.set_default_dtype(torch.float32)  # as in the command

    def call(*args: object) -> Result:
        return called(monkeypatch, capsys, *args)

    return call


def rows(n: int = 60) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=n)
    y = np.abs(x) + 0.1 * generator.normal(size=n)
    colour = np.where(x > 0, "red", "blue")
    return {"x": x, "w": generator.normal(size=n), "colour": colour, "y": y}


SPEC = """\
data: {file: train.csv, response: y, categorical: [colour]}
likelihood: {family: normal}
experts: {number: 2}
fit: {epochs: 5, restarts: 2, batch_size: 16}
output: {draws: 20}
"""


def write(table: dict[str, Any] | None = None, spec: str = SPEC) -> None:
    pyarrow.csv.write_csv(pyarrow.table(rows() if table is None else table), "train.csv")
    Path("spec.yaml").write_text(spec)


def left_behind() -> set[str]:
    return {p.name for p in Path().iterdir()} - {"train.csv", "spec.yaml", "new.csv"}


def test_a_fit_writes_a_run_directory(run: Callable[..., Result]) -> None:
    write()
    result = run("fit", "spec.yaml", "--out", "run")
    assert result.code == 0, result.err
    assert "nats a row" in result.out
    folder = Path("run")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert METRICS | {"rmse"} <= set(metrics)
    assert metrics["n"] == {"train": 48, "test": 12}
    assert [r["seed"] for r in metrics["restarts"]] == [0, 1]
    assert (folder / "history.csv").read_text().count("\n") == 11
    tree = xr.open_datatree(folder / "posterior.nc", engine="h5netcdf")
    posterior = tree["posterior"]
    assert posterior["z"].dims == ("chain", "draw", "obs")
    assert posterior["z"].dtype.kind == "i"
    assert posterior["resp"].dims == ("chain", "draw", "obs", "expert")
    np.testing.assert_allclose(posterior["resp"].sum("expert"), 1, rtol=1e-5)
    assert posterior["expert_slope"].dims == ("chain", "draw", "expert", "expert_predictor")
    total = float(tree["log_likelihood"]["y"].isel(chain=0, draw=0).sum())
    assert total == pytest.approx(metrics["log_likelihood"]["train"], rel=1e-4)
    assert {*tree.children} == {
        "posterior", "log_likelihood", "posterior_predictive", "prior_predictive",
        "observed_data", "constant_data", "sample_stats", "training",
    }  # fmt: skip


def test_the_written_spec_gives_the_same_bits(run: Callable[..., Result]) -> None:
    write()
    assert run("fit", "spec.yaml", "--out", "a/one").code == 0
    assert run("fit", "a/one/spec.yaml", "--out", "two").code == 0
    one, two = Path("a/one"), Path("two")
    for name in ("checkpoints/parameters.safetensors", "posterior.nc"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert run("fit", "spec.yaml", "--set", "seed=1", "--out", "three").code == 0
    three = Path("three/checkpoints/parameters.safetensors")
    assert three.read_bytes() != (one / "checkpoints/parameters.safetensors").read_bytes()


def test_arviz_opens_the_posterior(run: Callable[..., Result]) -> None:
    write()
    run("fit", "spec.yaml", "--out", "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ 0.23 warns at import of what is to come
        import arviz

        data = arviz.from_netcdf("run/posterior.nc")
    assert data.posterior["z"].shape == (1, 20, 48)


@pytest.mark.parametrize("name", list(TREATMENTS))
@pytest.mark.parametrize("objective", ["marginal", "jensen", "elbo"])
def test_every_combination_fits_or_is_refused(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, name: str, objective: str
) -> None:
    for command in (fit_command, compare_command):  # a report takes a second
        monkeypatch.setattr(command, "write_and_say", lambda folder: None)
    write()
    result = run("fit", "spec.yaml", "--treatment", name, "--set", f"objective={objective}",
                 "--set", "fit.epochs=1", "--set", "fit.restarts=1", "--out", "run")  # fmt: skip
    valid = TREATMENTS[name].objectives
    if objective in valid:
        assert result.code == 0, result.err
        assert json.loads(Path("run/metrics.json").read_text())["objective"] == objective
    else:
        refused(result, f"cannot estimate the objective {objective}", *valid)


def refused(result: Result, *texts: str, code: int = 2) -> None:
    assert result.code == code, result.err
    assert result.err.count("\n") == 1
    assert result.err.startswith("pyromoe: error: ")
    for text in texts:
        assert text in result.err
    assert result.out == ""
    assert not left_behind()


def test_the_temperature_is_in_the_history(run: Callable[..., Result]) -> None:
    write(spec=SPEC + "treatment: {name: gumbel_softmax, temperature: {start: 1.0, end: 0.25}}\n")
    assert run("fit", "spec.yaml", "--out", "run", "--set", "fit.restarts=1").code == 0
    table = pyarrow.csv.read_csv("run/history.csv").to_pydict()["temperature"]
    assert table == sorted(table, reverse=True)
    assert 1.0 > table[0] > table[-1] > 0.25


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("treatment.name=gumble_softmax", "did you mean 'gumbel_softmax'"),
        ("treatment={name: leave_one_out, num_samples: 1}", "num_samples >= 2, got 1"),
        ("treatment={name: leave_one_out, num_samples: two}", "must be a whole number, not 'two'"),
        ("treatment={name: leave_one_out, samples: 2}", "did you mean 'num_samples'"),
        ("treatment={name: gumbel_softmax, temperature: 0}", "temperature must be positive"),
        ("treatment={name: gumbel_softmax, temperature: {start: 1}}", "temperature.end"),
        ("treatment={name: gumbel_softmax, temperature: {start: 1, end: 0}}", "positive ends"),
        ("treatment={name: gumbel_softmax, kl: none}", "choose one of"),
        ("guide.z=posterior", "guide posterior does not make the objective marginal"),
        ("fit.epoch=3", "did you mean 'epochs'"),
    ],
)
def test_a_wrong_setting_is_refused(run: Callable[..., Result], setting: str, text: str) -> None:
    write()
    refused(run("fit", "spec.yaml", "--set", setting), text)


def test_hard_draws_refuse_the_mixture_of_likelihoods(run: Callable[..., Result]) -> None:
    for treatment in (t for t in TREATMENTS.values() if t.hard):
        write()
        result = run("fit", "spec.yaml", "--treatment", treatment.name,
                     "--set", "experts.mix=likelihoods")  # fmt: skip
        refused(result, "experts.mix", "use log_likelihoods or parameters")


CLASSES = SPEC.replace("normal", "categorical")


@pytest.mark.parametrize("command", ["check", "fit", "compare"])
@pytest.mark.parametrize(
    ("change", "spec", "texts"),
    [
        ({"x": None}, SPEC.replace("}", ", predictors: [x, w]}", 1).replace(
            "categorical: [colour], ", "").replace(", categorical: [colour]", ""), ["x"]),
        ({"x": ["1.5"] * 59 + ["oops"]}, SPEC, ["train.csv", "x", "row 61", "'oops'"]),
        ({"x": [1.0] * 59 + [float("nan")]}, SPEC, ["train.csv", "x", "missing value"]),
        ({"y": None}, SPEC, ["data.response", "'y'"]),
        ({"y": ["a"] * 60}, CLASSES, ["y", "class"]),
        ({"y": [-1.0] * 60}, SPEC.replace("normal", "poisson"), ["y", "not a count"]),
    ],
)  # fmt: skip
def test_bad_data_is_refused(
    run: Callable[..., Result], command: str, change: dict[str, Any], spec: str, texts: list[str]
) -> None:
    table = {name: v for name, v in (rows() | change).items() if v is not None}
    write(table, spec)
    refused(run(command, "spec.yaml"), *texts)


MEASURE = {
    "treatment", "objective", "evaluations", "objective_bias", "estimator_bias",
    "estimator_bias_mc_floor", "relative_std", "cosine", "slope", "seconds_per_call",
}  # fmt: skip


def test_gradients_measures_a_spec_and_a_run(run: Callable[..., Result]) -> None:
    write()
    names = "enumerate,leave_one_out,picked_component"
    args = ("--treatments", names, "--draws", 30)
    of_spec = run("gradients", "spec.yaml", *args, "--out", "one")
    assert of_spec.code == 0
    assert run("fit", "spec.yaml", "--out", "fitted").code == 0
    of_run = run("gradients", "fitted", *args, "--out", "two")
    assert of_run.code == 0
    for result in (of_spec, of_run):
        assert all(name in result.out for name in names.split(","))
        assert "\nTake " in result.out or "\nKeep " in result.out
    found = [json.loads(Path(f"{o}/gradients.json").read_text()) for o in ("one", "two")]
    for each in found:
        assert all(set(row) >= MEASURE for row in each["rows"])
        assert each["recommendation"]
    timed = {"seconds_per_call", "error_times_seconds"}
    one, two = ([{n: r[n] for n in r if n not in timed} for r in f["rows"]] for f in found)
    assert one == two  # a run holds the parameters that fitting its spec gives
    assert {p.name for p in Path("one").iterdir()} == {
        "gradients.json", "gradients.csv", "gradients.svg", "spec.yaml", "manifest.json",
        "report.html",
    }  # fmt: skip
    assert run("gradients", "spec.yaml", *args, "--out", "one").code == 2
    assert run("gradients", "spec.yaml", *args, "--out", "one", "--overwrite").code == 0


def test_gradients_refuses_what_it_cannot_measure(run: Callable[..., Result]) -> None:
    write()
    refused(run("gradients", "spec.yaml", "--treatments", "enumrate"), "unknown", "'enumerate'")
    refused(run("gradients", "spec.yaml", "--draws", "1"), "--draws")
    refused(run("gradients", "nowhere"), "nowhere", "no such file")
    Path("empty").mkdir()
    for args, text in (([], "run directory"), (["--set", "seed=1"], "--set")):
        result = run("gradients", "empty", *args)
        assert result.code == 2
        assert text in result.err
    assert left_behind() == {"empty"}


def test_compare_takes_all_treatments(run: Callable[..., Result]) -> None:
    write()
    few = "--budget", "steps=2", "--set", "output.draws=4"
    assert run("compare", "spec.yaml", "--treatments", "all", *few).code == 0
    (folder,) = Path("runs").iterdir()
    seen = json.loads((folder / "comparison.json").read_text())["rows"]
    assert [row["treatment"] for row in seen] == list(TREATMENTS)
    assert all(row["test_log_likelihood"] is not None for row in seen)


@pytest.mark.parametrize("text", ["", "x,w,colour,y\n", "x,w,colour,y\n1,2,red,3\n"])
def test_too_few_rows_are_refused(run: Callable[..., Result], text: str) -> None:
    write()
    Path("train.csv").write_text(text)
    refused(run("fit", "spec.yaml"), "train.csv")


def test_missing_files_are_named(run: Callable[..., Result]) -> None:
    refused(run("fit", "nothing.yaml"), "nothing.yaml", "no such file")
    Path("spec.yaml").write_text(SPEC)
    refused(run("fit", "spec.yaml"), "train.csv", "no such file")


def test_usage_errors_are_one_line(run: Callable[..., Result]) -> None:
    for args in (["fit"], ["fti", "spec.yaml"], ["fit", "spec.yaml", "--epochs", "3"]):
        refused(run(*args), "--help")
    write()
    refused(run("fit", "spec.yaml", "--budget", "minutes=3"), "--budget", "seconds=S")
    refused(run("compare", "spec.yaml", "--seeds", "a"), "compare.seeds", "a whole number")
    refused(run("compare", "spec.yaml", "--seeds", "0,0"), "compare.seeds", "listed twice")
    refused(run("compare", "spec.yaml", "--treatments", "enumerate,rloo"), "unknown treatment")


def test_a_directory_is_not_overwritten_by_accident(run: Callable[..., Result]) -> None:
    write()
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("x")
    for extra in ([], ["--overwrite"]):
        result = run("fit", "spec.yaml", "--out", "mine", *extra)
        assert result.code == 2
        assert [p.name for p in Path("mine").iterdir()] == ["thesis.tex"]
    assert run("fit", "spec.yaml", "--out", "run").code == 0
    assert "--overwrite" in run("fit", "spec.yaml", "--out", "run").err
    assert run("fit", "spec.yaml", "--out", "run", "--overwrite").code == 0
    assert run("fit", "spec.yaml").code == 0
    assert run("fit", "spec.yaml").code == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["spec", "spec-2"]


def test_a_place_that_cannot_be_written_is_an_error_of_the_machine(
    run: Callable[..., Result],
) -> None:
    write()
    refused(run("fit", "spec.yaml", "--out", "train.csv/run"), "train.csv", code=3)


def test_a_fit_that_breaks_down_says_so(run: Callable[..., Result]) -> None:
    write(rows() | {"y": 1e30 * rows()["y"]}, SPEC.replace(", cat", ", standardise: none, cat"))
    refused(run("fit", "spec.yaml"), "learning_rate", code=4)


def test_an_interrupted_fit_leaves_nothing(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    write()
    monkeypatch.setattr(evaluation, "log_probabilities", stop)
    refused(run("fit", "spec.yaml"), "stopped", code=130)


def test_a_bug_is_one_line_and_leaves_its_traceback(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("planted")

    write()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path.parent))
    monkeypatch.setattr(evaluation, "log_probabilities", broken)
    result = run("fit", "spec.yaml")
    refused(result, "a bug: RuntimeError: planted", code=1)
    path = Path(result.err.strip().split(" is in ")[1])
    assert "planted" in path.read_text()
    path.unlink()


def test_compare_writes_a_comparison(run: Callable[..., Result]) -> None:
    write()
    result = run("compare", "spec.yaml", "--treatments", "enumerate,gumbel_softmax",
                 "--seeds", "0,1", "--out", "both")  # fmt: skip
    assert result.code == 0, result.err
    stored = json.loads(Path("both/comparison.json").read_text())
    assert len(stored["rows"]) == 4
    for row in stored["rows"]:
        assert ROW | {"rmse"} <= set(row)
        assert (Path("both") / f"{row['treatment']}-{row['seed']}" / "posterior.nc").is_file()
    assert {r["objective"] for r in stored["rows"]} == {"marginal", "jensen"}
    assert stored["summary"] in result.out.replace("\n", " ").replace("  ", " ")
    assert pyarrow.csv.read_csv("both/comparison.csv").num_rows == 4


@pytest.mark.parametrize(("budget", "steps"), [("steps=7", [7, 7]), ("evaluations=192", [6, 2])])
def test_compare_at_equal_cost(run: Callable[..., Result], budget: str, steps: list[int]) -> None:
    """48 rows in batches of 16: a step of REINFORCE costs 16 evaluations, of enumeration 48."""
    write(spec=SPEC.replace("number: 2", "number: 3"))
    run("compare", "spec.yaml", "--treatments", "leave_one_out,enumerate", "--budget", budget,
        "--out", "both", "--set", "fit.restarts=1")  # fmt: skip
    stored = json.loads(Path("both/comparison.json").read_text())["rows"]
    if budget.startswith("evaluations"):
        assert [r["steps"] * r["evaluations"] * 16 for r in stored] == [192, 192]
    else:
        assert [r["steps"] for r in stored] == steps


def test_a_budget_of_seconds_ends_in_time(run: Callable[..., Result]) -> None:
    write()
    assert run("fit", "spec.yaml", "--budget", "seconds=0.2", "--out", "run").code == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert 0.4 <= metrics["seconds"] < 5


def test_predict_agrees_with_the_fit(run: Callable[..., Result]) -> None:
    write()
    run("fit", "spec.yaml", "--out", "run")
    for name in ("all.csv", "all.parquet"):
        assert run("predict", "run", "train.csv", "--out", name).code == 0
    table = pyarrow.csv.read_csv("all.csv")
    assert table.num_rows == 60
    metrics = json.loads(Path("run/metrics.json").read_text())
    total = sum(metrics["log_likelihood"].values())
    assert sum(table["log_density"].to_pylist()) == pytest.approx(total, rel=1e-3)
    r = np.stack([table[f"responsibility_{k}"].to_numpy() for k in range(2)])
    np.testing.assert_allclose(r.sum(0), 1, rtol=1e-5)
    same = pyarrow.parquet.read_table("all.parquet")
    np.testing.assert_allclose(same["mean"].to_numpy(), table["mean"].to_numpy(), rtol=1e-6)


def test_predict_without_the_response(run: Callable[..., Result]) -> None:
    write()
    run("fit", "spec.yaml", "--out", "run")
    new = {k: v[:3] for k, v in rows().items() if k != "y"}
    pyarrow.csv.write_csv(pyarrow.table(new), "new.csv")
    assert run("predict", "run", "new.csv", "--out", "new-out.csv").code == 0
    names = pyarrow.csv.read_csv("new-out.csv").column_names
    assert "mean" in names
    assert "log_density" not in names


@pytest.mark.parametrize("text", ["0", "1", "1.2", "abc", "", "0.5,", "nan", "0.5,0.5", "-0.1"])
def test_quantiles_are_asked_for_by_name(run: Callable[..., Result], text: str) -> None:
    write()
    run("fit", "spec.yaml", "--out", "run")
    predict = ("predict", "run", "train.csv", "--out", "out.csv", f"--quantiles={text}")
    refused = run(*predict)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "quantiles" in refused.err
    assert not Path("out.csv").exists()
    assert run(*predict[:-1], "--quantiles", "0.05,0.5", "--per-expert").code == 0
    names = pyarrow.csv.read_csv("out.csv").column_names
    assert {"variance", "q0.05", "q0.5", "mean_0", "mean_1", "entropy"} <= set(names)
    assert "variance_within" in run("predict", "--help").out


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("x", None, "no such column"),
        ("colour", "green", "'green' was not there in training"),
        ("x", "n/a", "not a number"),
        ("label", "z", "'z' was not there in training"),
    ],
)
def test_predict_refuses_what_it_cannot_use(
    run: Callable[..., Result], column: str, value: str | None, text: str
) -> None:
    label = {"label": np.where(rows()["y"] > 0.7, "high", "low")}
    write(rows() | label, CLASSES.replace("response: y", "response: label"))
    assert run("fit", "spec.yaml", "--out", "run").code == 0
    new = {k: list(map(str, v[:3])) for k, v in (rows() | label).items()}
    if value is None:
        del new[column]
    else:
        new[column][2] = value
    pyarrow.csv.write_csv(pyarrow.table(new), "new.csv")
    result = run("predict", "run", "new.csv", "--out", "out.csv")
    assert result.code == 2
    assert text in result.err
    assert "new.csv" in result.err
    assert left_behind() == {"run"}


def test_inspect_shows_the_experts(run: Callable[..., Result]) -> None:
    write()
    run("fit", "spec.yaml", "--out", "run")
    result = run("inspect", "run", "--rows", "3")
    assert result.code == 0
    assert "Experts, by their share" in result.out
    assert result.out.split("The least certain")[1].count("expert 0") == 3
    refused_run = run("inspect", "train.csv")
    assert refused_run.code == 2


@pytest.mark.parametrize("damage", ["shape", "nan", "garbage", "missing"])
def test_a_broken_run_is_named(run: Callable[..., Result], damage: str) -> None:
    from safetensors.torch import load as load_tensors, save as save_tensors

    write()
    run("fit", "spec.yaml", "--out", "run")
    path = Path("run/checkpoints/parameters.safetensors")
    tensors = load_tensors(path.read_bytes())
    name = "gate.bias_0"
    changed = {"shape": tensors[name][..., :1].clone(), "nan": tensors[name] * torch.nan}
    if damage == "garbage":
        path.write_bytes(b"garbage")
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(save_tensors({**tensors, name: changed[damage]}))
    result = run("predict", "run", "train.csv", "--out", "out.csv")
    assert result.code == 2
    assert "parameters.safetensors" in result.err
    assert result.err.count("\n") == 1
    assert not Path("out.csv").exists()


def test_help_teaches(run: Callable[..., Result]) -> None:
    text = run("--help").out
    for command in (
        "new", "check", "fit", "compare", "predict", "inspect", "report", "treatments", "schema"
    ):  # fmt: skip
        assert command in text
        assert "--help" in run(command, "--help").out


def test_the_catalogue_names_every_treatment(run: Callable[..., Result]) -> None:
    text = run("treatments").out
    for treatment in TREATMENTS.values():
        assert treatment.name in text
        formula = treatment.description.splitlines()[2].strip()
        assert formula in run("treatments", treatment.name).out


def test_the_schema_is_json(run: Callable[..., Result]) -> None:
    schema = json.loads(run("schema").out)
    assert "treatment" in schema["properties"]


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["check", "examples/engel.yaml"], ["schema"],
             ["check", "examples/digits.yaml"], ["treatments"], ["treatments", "enumerate"]]
)  # fmt: skip
def test_light_commands_do_not_import_torch(args: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['pyromoe', *sys.argv[1:]]\n"
        "from pyromoe.inference import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch._C', 'pyro', 'arviz', 'sklearn', 'pandas', 'jinja2', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    env = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code, *args], check=True, cwd=ROOT, env=env,
                   stdout=subprocess.DEVNULL)  # fmt: skip
