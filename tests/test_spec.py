"""Every text is a specification or one clear line that says what is wrong with it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from pyromoe.models.errors import InputError
from pyromoe.models.specs.spec import Data, Experts, NetworkGate, Normal, Spec
from pyromoe.models.specs.spec_file import SpecFile, json_schema, parse_spec, read_spec, to_yaml

DATA = "data: {file: a.csv, response: y}\n"
BASE = DATA + "likelihood: {family: normal}\n"
GOLDEN = Path(__file__).parent / "golden"


def golden_cases() -> list[tuple[str, str]]:
    """Pairs of a text and its message; `@data` and `@likelihood` stand for lines without fault."""
    cases: list[tuple[str, str]] = []
    lines: list[str] = []
    for line in (GOLDEN / "bad_specs.txt").read_text().splitlines():
        if line.startswith("=> "):
            text = "".join(f"{line}\n" for line in lines).lstrip("\n")
            text = text.replace("@data\n", DATA).replace("@likelihood\n", BASE.removeprefix(DATA))
            cases.append((text, line.removeprefix("=> ")))
            lines = []
        else:
            lines.append(line)
    return cases


@pytest.mark.parametrize(("text", "message"), golden_cases())
def test_a_bad_specification_has_exactly_this_message(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(text, "s.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"data: {file: \xe9}\n", "s.yaml:1:14: not UTF-8 (byte 0xe9); save it as UTF-8"),
        (BASE.encode("utf-16"), "s.yaml:1:1: looks like UTF-16; save it as UTF-8"),
        (b"seed: 1\0\n", "s.yaml:1:8: character U+0000 is not allowed"),
        (b"seed: 1\x07\n", "s.yaml:1:8: character U+0007 is not allowed"),
        (
            b"fit:\n%YAML 9.9\n seed: 1\n",
            "s.yaml:2:1: not valid YAML: found incompatible YAML document "
            "(version 1.* is required)",
        ),
        (b"fit:\n\tepochs: 3\n", "s.yaml:2:1: a tab cannot indent; use spaces"),
    ],
)
def test_bytes_that_are_no_text(raw: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(raw, "s.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "raw",
    [
        BASE.encode("utf-8-sig"),
        BASE.replace("\n", "\r\n").encode(),
        b"%YAML 1.2\n---\n" + BASE.encode(),
    ],
)
def test_what_editors_add_is_accepted(raw: bytes) -> None:
    assert parse_spec(raw, "s.yaml").spec == parse_spec(BASE, "s.yaml").spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\nb: &b [*a, *a]\n" * 9, "YAML anchors (&a) are not allowed"),
        ("a: " + "[" * 3000, "nested more than 32 deep"),
        ("a:\n" + "- " * 3000, "nested more than 32 deep"),
        ("[" * 1_000_000, "nested more than 32 deep"),
        ("a: [" + "1," * 25_000 + "1]", "more than 20000 values"),
        ("a" * (2**20 + 1), "larger than 1 MiB"),
        ("!!python/object/apply:os.system [id]", "YAML tags"),
        ("seed: " + "9" * 6000, "is not a number"),
        ("{" * 500, "a key must be one word"),
    ],
)
def test_hostile_text_is_refused_quickly(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        parse_spec(text, "s.yaml")
    assert message in str(caught.value)
    assert time.process_time() - start < 2


def test_scalars_are_those_of_yaml_1_2() -> None:
    options = "a: no, b: 1e-3, c: 1e3, d: 2020-01-01, e: '1', f: 0o17, g: ~, h: True, i: =, j: on"
    spec = parse_spec(f"{BASE}treatment: {{{options}}}\n", "s.yaml").spec
    assert list(spec.treatment.options.values()) == [
        *("no", 0.001, 1000.0, "2020-01-01", "1", 15, None, True, "=", "on")
    ]


def test_defaults_depend_on_the_kind() -> None:
    mlp = parse_spec(f"{BASE}experts: {{kind: mlp}}\npriors: {{gate: {{kind: none}}}}\n", "s").spec
    assert (mlp.experts.hidden, mlp.gate) == ([32], NetworkGate(hidden=[]))
    assert (mlp.priors.experts.scale, mlp.priors.gate.scale) == (1.0, None)
    assert (
        parse_spec(f"{BASE}treatment: leave_one_out\n", "s").spec.treatment.name == "leave_one_out"
    )
    assert parse_spec(f"{BASE}fit: {{learning_rate: 1}}\n", "s").spec.fit.learning_rate == 1.0


@pytest.mark.parametrize(
    ("text", "experts", "scales"),
    [
        ("likelihood: {family: normal}", 1.0, "none"),
        ("likelihood: {family: poisson}", 2.5, "none"),
        (
            "likelihood: {family: mixed, experts: [{family: normal}, {family: gamma}]}\n"
            "experts: {number: 2}",
            2.5,
            "none",
        ),
        ("likelihood: {family: normal}\npriors: {experts: {scale: 2}}", 2.0, "none"),
        ("likelihood: {family: normal}\npriors: {experts: {kind: horseshoe}}", 2.5, "none"),
        ("likelihood: {family: normal}\nguide: {weights: nuts}", 1.0, "normal"),
        ("likelihood: {family: beta}\nguide: {weights: mean_field}", 2.5, "normal"),
        (
            "likelihood: {family: normal}\nguide: {weights: nuts}\npriors: {scales: {kind: none}}",
            1.0,
            "none",
        ),
    ],
)
def test_default_priors_follow_from_the_response_and_the_guide(
    text: str, experts: float, scales: str
) -> None:
    priors = parse_spec(f"data: {{file: a.csv, response: y}}\n{text}\n", "s").spec.priors
    assert (priors.experts.scale, priors.scales.kind) == (experts, scales)
    assert priors.scales.scale == (0.5 if scales == "normal" else None)
    raw = "data: {file: a.csv, response: y, standardise: predictors}"
    assert parse_spec(f"{raw}\n{text}\n", "s").spec.priors.experts.scale in (2.0, 2.5)


def test_a_specification_can_be_written_in_python_and_not_changed() -> None:
    spec = Spec(
        data=Data(file="a.csv", response="y"),
        likelihood=Normal(family="normal"),
        experts=Experts(number=2),
    )
    assert parse_spec(BASE + "experts: {number: 2}\n", "s").spec == spec
    with pytest.raises(ValueError, match="frozen"):
        spec.seed = 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.epochs=-5", "--set fit.epochs=-5: fit.epochs: must be at least 1, not -5"),
        ("fitt.epochs=5", "--set fitt.epochs=5: fitt: unknown setting; did you mean 'fit'?"),
        (
            "fit.epochs",
            "--set fit.epochs: must be of the form name=value; write e.g. --set fit.epochs=5",
        ),
        ("a..b=1", "--set a..b=1: must be of the form name=value; write e.g. --set fit.epochs=5"),
        ("seed.x=1", "--set seed.x=1: seed: is not a mapping of settings"),
        (
            "seed=!!int 3",
            "--set seed=!!int 3: YAML tags (tag:yaml.org,2002:int) are not allowed; remove it",
        ),
        (
            "data.predictors=[y]",
            "--set data.predictors=[y]: data.predictors[0]: 'y' is the response; remove it here",
        ),
    ],
)
def test_a_bad_override_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(BASE + "seed: 3\n", "s.yaml", [override])
    assert str(caught.value) == message


def test_overrides_replace_what_the_text_says() -> None:
    overrides = ["fit.epochs=5", "treatment.temperature=0.5", "data.predictors=[a, b]", "seed=9"]
    text = BASE + "treatment: gumbel_softmax\nfit:\nseed: wrong\n"
    spec = parse_spec(text, "s.yaml", overrides).spec
    assert (spec.fit.epochs, spec.seed, spec.data.predictors) == (5, 9, ["a", "b"])
    assert (spec.treatment.name, spec.treatment.options) == ("gumbel_softmax", {"temperature": 0.5})


def test_later_errors_know_where_a_setting_stands() -> None:
    text = BASE + "treatment:\n  name: x\n  temperature: {start: -1}\n"
    file = parse_spec(text, "s.yaml", ["fit.epochs=5"])
    where = {
        name: str(file.error(name, "bad", "fix it"))
        for name in ("treatment.temperature.start", "treatment.other[2]", "guide.z", "fit.epochs")
    }
    assert list(where.values()) == [
        "s.yaml:5:17: treatment.temperature.start: bad; fix it",
        "s.yaml:3:1: treatment.other[2]: bad; fix it",
        "s.yaml:1:1: guide.z: bad; fix it",
        "--set fit.epochs=5: fit.epochs: bad; fix it",
    ]
    assert str(SpecFile(file.spec).error("seed", "bad")) == "spec: seed: bad"


def test_an_error_is_one_printable_line() -> None:
    error = InputError("a\nb\x1b[31m\ud800\u202e" + "x" * 500, file="f\n", line=1, field="z")
    assert str(error).startswith("f\\n:1: z: a\\nb\\x1b[31m\\ud800\\u202e")
    assert (len(str(error)), str(error).isprintable()) == (400, True)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bikes.yaml").write_text(BASE)
    assert read_spec(tmp_path / "bikes.yaml").directory == tmp_path
    for name, message in [
        ("bike.yaml", "no such file; did you mean 'bikes.yaml'?"),
        ("", "is a folder, not a file; name a file in it"),
        ("x/y.yaml", "no such folder; check the path"),
        ("a\0b", "embedded null byte"),
    ]:
        with pytest.raises(InputError) as caught:
            read_spec(tmp_path / name)
        assert message in str(caught.value)


@pytest.mark.parametrize("text", [BASE, (GOLDEN / "full_spec.yaml").read_text()])
def test_what_is_written_reads_back_the_same(text: str) -> None:
    spec = parse_spec(text, "s.yaml").spec
    written = to_yaml(spec)
    assert parse_spec(written, "s.yaml").spec == spec
    assert to_yaml(parse_spec(written, "s.yaml").spec) == written


words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
options = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(words, words, options, st.floats(1e-300, 10))
def test_any_name_and_number_reads_back_the_same(
    response: str, file: str, option: object, rate: float
) -> None:
    tree = {
        "data": {"file": file, "response": response},
        "likelihood": {"family": "normal"},
        "treatment": {"name": response, "option": option},
        "fit": {"learning_rate": rate},
    }
    spec = Spec.model_validate(tree)
    assert parse_spec(to_yaml(spec), "s.yaml").spec == spec


def test_the_schema_describes_every_setting() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    sections = [schema, *schema["$defs"].values()]
    bare = [
        n for s in sections for n, p in s.get("properties", {}).items() if not p.get("description")
    ]
    assert bare == []


def test_reading_does_not_wait_for_heavy_libraries() -> None:
    heavy = ["torch", "pyro", "sklearn", "statsmodels", "pandas", "scipy"]
    code = (
        "import sys; from pyromoe.models.specs.spec_file import parse_spec; "
        "from pyromoe.models.data.data import load; "
        "text = 'data: {dataset: digits}\\nlikelihood: {family: categorical}'; "
        f"load(parse_spec(text, 's')); print([m for m in {heavy} if m in sys.modules])"
    )
    source = str(Path(__file__).parent.parent / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": source}
    )
    assert done.stdout == b"[]\n"
