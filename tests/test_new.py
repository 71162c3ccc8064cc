"""`pyromoe new`: what it guesses, what it writes, and how it ends."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from command import called
from hypothesis import example, given, settings, strategies as st
from rich.console import Console

from pyromoe.inference import terminal
from pyromoe.inference.commands.interview import Interview
from pyromoe.inference.commands.new import SCHEMA, GateKind
from pyromoe.inference.commands.questions import Given, ask_all
from pyromoe.inference.commands.response_questions import FAMILIES
from pyromoe.inference.fitting.plan import make_plan
from pyromoe.models.data.data import as_rows, load
from pyromoe.models.data.guesses import (
    guess_family,
    guess_group,
    guess_missing,
    guess_response,
    reason_to_leave_out,
)
from pyromoe.models.errors import InputError
from pyromoe.models.specs.commented_spec import commented
from pyromoe.models.specs.setting_descriptions import choices
from pyromoe.models.specs.spec import Gate, Spec
from pyromoe.models.specs.spec_file import parse_spec, read_spec
from pyromoe.models.tables.column_summary import summarise

SOURCE = str(Path(__file__).parent.parent / "src")
N = 200
chance = np.random.default_rng(0)
RESPONSES: dict[str, Any] = {
    "normal": chance.normal(size=N),
    "bernoulli": ["no", "yes"] * (N // 2),
    "categorical": ["red", "green", "blue", "red"] * (N // 4),
    "ordinal": chance.integers(1, 6, N),
    "poisson": chance.poisson(3.0, N),
    "negative_binomial": chance.negative_binomial(1, 0.1, N),
    "gamma": chance.gamma(1.0, 3.0, N),
    "beta": chance.beta(2.0, 3.0, N),
}
"""Responses of which the family can be guessed."""
OTHERS: dict[str, Any] = {
    "student_t": RESPONSES["normal"],
    "skew_normal": RESPONSES["normal"],
    "binomial": RESPONSES["poisson"],
    "zero_inflated_poisson": RESPONSES["poisson"],
}


def table(**columns: Any) -> dict[str, Any]:
    x = np.random.default_rng(1).normal(size=N)
    return {"x": x, "colour": np.where(x > 0, "red", "blue"), **columns}


def columns_of(**columns: Any) -> Any:
    return summarise(as_rows(columns))


Run = Callable[..., tuple[int, str, str]]
"""Takes arguments of the command; returns the exit code and what was printed on both streams."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the command in an empty folder; `answers` are typed at a terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str, answers: str | None = None) -> tuple[int, str, str]:
        stdin = io.StringIO(answers)
        if answers is not None:
            monkeypatch.setattr(stdin, "isatty", lambda: True)
            console = Console(highlight=False, soft_wrap=True, force_terminal=True, no_color=True)
            monkeypatch.setattr(terminal, "out", console)
        monkeypatch.setattr("sys.stdin", stdin)
        return called(monkeypatch, capsys, *args)

    return call


def write(name: str = "a.csv", **columns: Any) -> None:
    pyarrow.csv.write_csv(pa.table(columns), name)


@pytest.mark.parametrize("family", RESPONSES)
def test_the_family_is_guessed_from_the_values(family: str) -> None:
    (column,) = columns_of(r=RESPONSES[family])
    assert guess_family(column).value == family


@pytest.mark.parametrize(
    ("name", "values", "family"),
    [
        ("class", [0, 1, 2, 2] * 9, "categorical"),
        ("r", [0, 1, 2] * 9, "categorical"),
        ("r", [0] * 20 + [1] * 5 + [2], "poisson"),
        ("r", [0.0, 0.5, 1.0] * 9, "normal"),
        ("r", [0.0, 0.25, 0.5] * 9, "normal"),
        ("r", [-1, 0, 1, 2] * 9 + [40], "normal"),
        ("price", list(range(10_000, 50_000, 900)), "normal"),
        ("r", [0.3, 1e300, 2.0], "normal"),
        ("r", [0.0, 1e300, 2.0, 30.0], "negative_binomial"),
    ],
)
def test_what_the_family_turns_on(name: str, values: list[float], family: str) -> None:
    (column,) = columns_of(**{name: values})
    assert guess_family(column).value == family


def test_the_response_is_guessed_by_name_or_place() -> None:
    x = [0.1, 0.2, 0.3, 0.3]
    assert guess_response(columns_of(Target=x, b=x), "a").value == "Target"
    assert guess_response(columns_of(a=x, b=x, c=[1] * 4, id=[7, 9, 8, 3]), "a").value == "b"
    with pytest.raises(InputError, match="no column could be predicted"):
        guess_response(columns_of(a=[1] * 4, b=["p", "q", "r", "s"]), "a")


def test_columns_that_predict_nothing_are_found() -> None:
    found = columns_of(
        constant=[3.0] * 10,
        none=pa.nulls(10),
        row=range(10),
        userId=range(50, 150, 10),
        name=[f"n{i}" for i in range(10)],
        mostly=[f"n{i // 2 * 2 if i < 4 else i}" for i in range(10)],
        income=range(50, 150, 10),
        real=np.linspace(0, 1, 10),
    )
    assert {c.name: reason_to_leave_out(c) for c in found} == {
        "constant": "one value only",
        "none": "no values",
        "row": "a different value in every row",
        "userId": "a different value in every row",
        "name": "a different value in every row",
        "mostly": "text, different in most rows",
        "income": "",
        "real": "",
    }


def test_groups_and_missing_values_are_found() -> None:
    assert guess_group(columns_of(x=[1.0, 2.0] * 5, subject_id=[*range(5)] * 2)).value is not None
    assert guess_group(columns_of(width=[*range(5)] * 2, code=[*range(5)] * 2)).value is None
    few, many = [None, *range(39)], [None, None, None, *range(37)]
    assert guess_missing(columns_of(a=few)).value == "drop"
    assert guess_missing(columns_of(a=few, b=many)).value == "indicate"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_written_and_valid(run: Run, family: str) -> None:
    response = (RESPONSES | OTHERS)[family]
    write(**table(trials=[40] * N, y=response))
    given = () if family in RESPONSES else ("--family", family)
    code, out, err = run("new", "a.csv", *given)
    assert (code, err) == (0, "")
    assert out.endswith("written to spec.yaml; next: pyromoe fit spec.yaml\n")
    spec = read_spec("spec.yaml").spec
    assert spec.families == [(family,)]
    assert (spec.data.file, spec.data.response) == ("a.csv", "y")
    assert spec.data.categorical == ["colour"]
    code, out, err = run("check", "spec.yaml")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("kind", get_args(GateKind))
def test_every_gate_is_written_and_valid(run: Run, kind: str) -> None:
    write(**table(y=RESPONSES["normal"]))
    code, _, err = run("new", "a.csv", "--gate", kind, "--experts", "3", "--out", "b.yml")
    assert (code, err) == (0, "")
    assert read_spec("b.yml").spec.gate.kind == kind
    assert read_spec("b.yml").spec.experts.number == 3
    assert run("check", "b.yml")[0] == 0


def test_the_command_knows_every_gate() -> None:
    kinds = " ".join(choices(get_args(Gate))).replace(",", "").replace(" or", "").split()
    assert sorted(kinds) == sorted(get_args(GateKind))


def uncommented(text: str) -> str:
    """The text with every setting that is shown at its default written out."""
    return re.sub(r"^( *)#(?! )", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_commented_out_is_the_default(family: str) -> None:
    rows = as_rows(table(trials=[40] * N, y=(RESPONSES | OTHERS)[family]))
    interview = Interview(rows, summarise(rows), ask=False)
    tree = ask_all(interview, "a.csv", Given(family=family, response="y"))
    spec = Spec.model_validate(tree)
    text = commented(spec, tree, interview.notes, "A spec\nof two lines")
    assert text.startswith("# A spec\n# of two lines\n")
    assert parse_spec(text, "s").spec == spec
    shown = uncommented(text)
    assert len(re.findall(r"^ *#(?! )", text, re.MULTILINE)) > 10
    assert not re.findall(r"^ *#(?! )", shown, re.MULTILINE)
    assert parse_spec(shown, "s").spec == spec
    assert max(map(len, text.splitlines())) <= 100
    before = re.findall(r"(.*)\n *#?[a-z_]+:", text)
    assert [line for line in before if not line.strip().startswith("# ")] == []


def test_answers_become_settings(run: Run) -> None:
    x = [*np.linspace(0, 1, 38), None, None]
    text = ["low", "high", "mid", "mid"] * 10
    write(key=range(40), x=x, code=[1, 2, 3, 1] * 10, firm=[*"abcde"] * 8, text=text)
    answers = ["text", "ordinal", "low, mid, high", "", "", "3", "9", "4", "", "keep", "drop"]
    code, out, err = run("new", "a.csv", answers="\n".join(answers) + "\n")
    assert (code, err) == (0, "")
    assert "no column '9'; columns: key, x, code" not in out  # 9 experts it is
    spec = read_spec("spec.yaml").spec
    assert spec.families == [("ordinal",)]
    assert spec.likelihood.levels == ["low", "mid", "high"]  # type: ignore[union-attr]
    assert (spec.data.group, spec.data.predictors) == ("firm", ["x", "code"])
    assert spec.data.categorical == ["code"]
    assert spec.experts.number == 9


def test_answers_that_cannot_be_read_are_asked_for_again(run: Run) -> None:
    write(**table(c=[1] * N, y=RESPONSES["normal"]))
    answers = ["z", "c", "4", "gamma", "gauss", "gaussian", "y", "none", "y", "3", "0", "two", "2"]
    code, out, err = run("new", "a.csv", answers="\n".join(answers) + "\n")
    assert (code, err) == (0, "")
    for line in (
        "a.csv: no column 'z'; columns: x, colour, c, y",
        "a.csv: c: has no two different values to predict; name another column",
        "a.csv: y: row 3: -0.1321048632913019 is not above 0; correct it; for other numbers set",
        "unknown family 'gauss'; choose one of: normal, student_t,",
        "a.csv: y: has another part already; name another column, or none",
        "a.csv: y: has another part already; leave it away here",
        "'0' is not a number of experts; write e.g. 3",
        "'two' is not a number of experts; write e.g. 3",
    ):
        assert line in out
    assert read_spec("spec.yaml").spec.experts.number == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no.csv"], "no.csv: no such file; did you mean 'row.csv'?"),
        (["."], ".: is a folder, not a file; name a file in it"),
        (["a.txt"], "a.txt: cannot tell its format; the name must end in"),
        (["empty.csv"], "empty.csv: has a header, but no rows below it"),
        (["empty.parquet"], "empty.parquet: has no rows"),
        (["twice.csv"], "twice.csv: a: columns 1 and 2 have the same name; rename one"),
        (["one.csv"], "one.csv: no column could be predicted"),
        (["inf.csv", "--response", "y"], "inf.csv: y: row 3: inf is too large a number"),
        (["a.csv", "--response", "z"], "a.csv: no column 'z'; columns: x, colour, y"),
        (["a.csv", "--family", "poison"], "unknown family 'poison'; did you mean 'poisson'?"),
        (["a.csv", "--family", "poisson"], "is not a count"),
        (["a.csv", "--family", "bernoulli"], "a.csv: y: has 200 different values"),
        (["a.csv", "--family", "mixed"], "family mixed is for several"),
        (["a.csv", "--gate", "deep"], "Invalid value for '--gate'"),
        (["a.csv", "--experts", "0"], "Invalid value for '--experts'"),
        (["a.csv", "--out", "a.csv"], "a.csv: the name must end in .yaml"),
        (["a.csv", "--out", "b/c.yaml"], "b/c.yaml: no such folder"),
        (["a.csv", "--out", "d.yaml", "--force"], "d.yaml: is a folder"),
        (["a.csv", "--out", "there.yaml"], "there.yaml: exists already; name another with --out"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    run: Run, args: list[str], message: str
) -> None:
    write(**table(y=RESPONSES["normal"]))
    write("one.csv", a=[1, 1], b=["p", "q"])
    write("row.csv", a=[1], y=[1.5])
    write("inf.csv", y=[1.0, float("inf"), 2.5], x=[1, 2, 3])
    Path("empty.csv").write_text("a,b\n")
    Path("twice.csv").write_text("a,a\n1,2\n")
    pyarrow.parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), "empty.parquet")
    Path("d.yaml").mkdir()
    Path("there.yaml").write_text("mine")
    before = sorted(Path().iterdir())
    code, _, err = run("new", *args)
    assert code == 2, err
    assert err.startswith("pyromoe: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    assert Path("there.yaml").read_text() == "mine"


def test_a_file_is_replaced_when_that_was_agreed(run: Run) -> None:
    write(**table(y=RESPONSES["normal"]))
    spec = Path("spec.yaml")
    spec.write_text("mine")
    assert run("new", "a.csv", answers="n\n")[0] == 2
    assert spec.read_text() == "mine"
    code, out, _ = run("new", "a.csv", answers="y\n" + 9 * "\n")
    assert code == 0, out
    assert read_spec(spec).spec.data.response == "y"
    spec.write_text("mine")
    assert run("new", "a.csv", "--yes", "--force")[0] == 0
    assert read_spec(spec).spec.data.response == "y"


def test_the_end_of_the_input_stops_without_a_trace(run: Run) -> None:
    write(**table(y=RESPONSES["normal"]))
    code, _, err = run("new", "a.csv", answers="\n")
    assert (code, err) == (130, "pyromoe: error: stopped\n")
    assert [path.name for path in Path().iterdir()] == ["a.csv"]


def test_yes_takes_every_guess_and_says_so(run: Run) -> None:
    write(id=range(N), **table(y=RESPONSES["gamma"]))
    code, out, _ = run("new", "a.csv", "--yes", answers="")
    assert code == 0
    assert "Nobody is asked, and every guess is taken" in out
    assert "response: y (by its name)" in out
    assert "family: gamma (numbers above 0 with a long tail" in out
    assert "left out: id ('id': a different value in every row)" in out
    assert "categorical: colour" not in out  # no number could be a code, so there is no question


def test_missing_values_are_asked_about(run: Run) -> None:
    y = [None, *RESPONSES["normal"][1:]]
    write(**table(y=y, w=[None] * 50 + [1.0, 2.0] * 75))
    assert run("new", "a.csv")[0] == 0
    missing = read_spec("spec.yaml").spec.data.missing
    assert (missing.responses, missing.predictors) == ("drop", "indicate")
    assert run("check", "spec.yaml")[0] == 0


def test_the_data_are_found_from_the_folder_of_the_spec(run: Run) -> None:
    Path("specs").mkdir()
    Path("my data").mkdir()
    write("my data/a.csv", **table(y=RESPONSES["normal"]))
    out = run("new", "my data/a.csv", "--out", "specs/a b.yaml")[1]
    assert out.endswith("next: pyromoe fit 'specs/a b.yaml'\n")
    assert read_spec("specs/a b.yaml").spec.data.file == "../my data/a.csv"
    assert run("check", "specs/a b.yaml")[0] == 0


def test_editors_are_told_of_a_schema_beside_the_spec(run: Run) -> None:
    write(**table(y=RESPONSES["normal"]))
    assert run("new", "a.csv")[0] == 0
    assert SCHEMA not in Path("spec.yaml").read_text()
    assert run("schema", "--out", SCHEMA)[:2] == (0, f"written to {SCHEMA}\n")
    assert run("schema", "--out", SCHEMA)[0] == 2
    assert run("new", "a.csv", "--force")[0] == 0
    first = Path("spec.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"
    assert run("check", "spec.yaml")[0] == 0


NAMES = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0")
        | st.sampled_from("'\":#-?\n\t,{}[]&*!|>%@` ~"),
        min_size=1,
        max_size=12,
    ),
    min_size=3,
    max_size=3,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(NAMES)
@example(["a", "a", "b"])
@example(["2", "3", "4"])
def test_any_names_of_columns_read_back_the_same(names: list[str]) -> None:
    values = ([1.5, 2.5, 4.0, 1.0], ["a: b", "#", "a: b", "#"], [3.0, 3.0, 3.0, 3.0])
    try:
        rows = as_rows(pa.table([*values], names=names))
    except InputError as error:
        assert re.search("have (the same name|names that)|has no name", error.what)  # noqa: PT017
        return
    interview = Interview(rows, summarise(rows), ask=False)
    response, text, constant = rows.table.column_names
    tree = ask_all(interview, "a.csv", Given(response=response))
    spec = Spec.model_validate(tree)
    read = parse_spec(commented(spec, tree, interview.notes, "A spec"), "s")
    assert read.spec == spec
    assert read.spec.data.response == response
    assert read.spec.data.categorical == [text]
    assert read.spec.data.predictors == [text]
    assert interview.several("2, 3") in ([text, constant], ["2", "3"])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_hostile_names_come_through_the_files(run: Run, ending: str) -> None:
    names = ["a: b", "'", '"x", y', "- dash", "# no", "zwölf", "null", "1", "{a}", "a\\n"]
    names += ["new\nline"] if ending == ".parquet" else []
    columns = {name: RESPONSES["normal"] + i for i, name in enumerate(names)}
    written = pa.table(columns)
    if ending == ".csv":
        pyarrow.csv.write_csv(written, "a.csv")
    else:
        pyarrow.parquet.write_table(written, "a.parquet")
    for name in names:
        code, _, err = run("new", f"a{ending}", "--response", name, "--force")
        assert (code, err) == (0, "")
        file = read_spec("spec.yaml")
        assert file.spec.data.response == name
        assert len(load(file).encoding.columns) == len(names) - 1
        make_plan(file)


def test_the_command_is_light_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(pa.table(table(y=RESPONSES["normal"])), tmp_path / "a.csv")
    code = (
        "import builtins, sys; sys.argv = ['pyromoe', 'new', 'a.csv']\n"
        "from pyromoe.inference import cli, terminal\n"
        "from rich.console import Console\n"
        "def interrupted(*_):\n"
        "    heavy = {'torch._C', 'pyro', 'arviz', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    raise KeyboardInterrupt\n"
        "sys.stdin.isatty = lambda: True\n"
        "terminal.out = Console(force_terminal=True)\n"
        "builtins.input = interrupted\n"
        "cli.main()\n"
    )
    env = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr == "pyromoe: error: stopped\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
