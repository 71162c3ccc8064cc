"""A damaged directory is named: nothing in it is believed, and nothing in it breaks the reader."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors, save as save_tensors

from pyromoe import MoEClassifier
from pyromoe.inference import terminal
from pyromoe.inference.files import manifest
from pyromoe.inference.files.strict_json import LARGEST, parse_json
from pyromoe.inference.files.verified import seal, verified, verified_file
from pyromoe.inference.runs.store import load_fit
from pyromoe.models.errors import InputError
from pyromoe.models.tables.table import read_table

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "corrupt_runs.py"
PARAMETERS = "checkpoints/parameters.safetensors"


@pytest.fixture(scope="module")
def corrupt_runs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_corrupt_runs", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(corrupt_runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run directory."""
    found: dict[str, bytes] = corrupt_runs.make_run(tmp_path_factory.mktemp("made") / "run")
    return found


@pytest.fixture
def run(whole: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name, raw in whole.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder


def test_every_damage_is_named(
    corrupt_runs: ModuleType, whole: dict[str, bytes], run: Path
) -> None:
    """400 cuts, 400 flipped bits, and other damage, to every file."""

    def everything(folder: Path) -> str:
        return str([verified(folder, name) for name in whole if name != manifest.NAME])

    damages = corrupt_runs.trials(whole, 400)
    found: Counter[str] = corrupt_runs.measure(run, damages, {"": everything})[""]
    # What is left is other ends of lines in the manifest, of which nothing is lost by that.
    assert found == Counter(named=841, unaffected=1)


@pytest.mark.slow
def test_every_reader_names_what_it_reads(
    corrupt_runs: ModuleType, whole: dict[str, bytes], run: Path
) -> None:
    found = corrupt_runs.measure(run, corrupt_runs.trials(whole, 0), corrupt_runs.READERS)
    assert found["report"] == Counter(named=41, unaffected=1)
    for name in ("load_fit", "inspect"):  # neither reads the whole directory
        assert set(found[name]) == {"named", "unaffected"}
        assert found[name]["named"] > 30


def test_without_the_manifest_damage_is_silent(
    corrupt_runs: ModuleType, whole: dict[str, bytes], run: Path
) -> None:
    """The negative control."""
    rng = random.Random(1)
    damages = [corrupt_runs.flip(whole, "metrics.json", rng) for _ in range(30)]
    readers = {"inspect": corrupt_runs.READERS["inspect"]}
    assert corrupt_runs.measure(run, damages, readers)["inspect"] == Counter(named=30)
    with corrupt_runs.unverified():
        found = corrupt_runs.measure(run, damages, readers)["inspect"]
    assert found["silent"] > 0
    assert found["crash"] == 0


def test_a_manifest_lists_every_file(whole: dict[str, bytes], run: Path) -> None:
    files = manifest.parse(whole[manifest.NAME], manifest.NAME)
    assert set(files) == set(whole) - {manifest.NAME}
    assert all(not manifest.damage(whole[name], entry) for name, entry in files.items())
    seal(run)
    assert (run / manifest.NAME).read_bytes() == whole[manifest.NAME]
    load_fit(run)


def test_what_is_no_longer_listed_is_not_checked(run: Path) -> None:
    """A spec that was changed on purpose: its line is taken out, as the message says."""
    spec = run / "spec.yaml"
    spec.write_text(spec.read_text().replace("file: ", "file: ./"))
    with pytest.raises(InputError, match=r"spec\.yaml: has .* delete its line in manifest\.json"):
        load_fit(run)
    lines = (run / manifest.NAME).read_text().split("\n")
    (run / manifest.NAME).write_text("\n".join(x for x in lines if '"spec.yaml"' not in x))
    assert load_fit(run).spec.data.file


def test_a_directory_without_a_manifest_is_refused(run: Path) -> None:
    (run / manifest.NAME).unlink()
    with pytest.raises(InputError, match=r"manifest\.json: is missing.*fit again"):
        load_fit(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"format": 2, "files": {}}, "format 2, and this version reads 1 at most; install a newer"),
        ({"format": 0, "files": {}}, "there is no format 0"),
        ({"format": "1", "files": {}}, "is no manifest"),
        ({"format": True, "files": {}}, "is no manifest"),
        ({"files": {}}, "is no manifest"),
        ([], "is no manifest"),
        ({"format": 1, "files": {"a": {"bytes": -1, "sha256": "0" * 64}}}, "is no manifest"),
        ({"format": 1, "files": {"a": {"bytes": 1, "sha256": "0" * 63}}}, "is no manifest"),
        ({"format": 1, "files": {}, "code": "os.system"}, "is no manifest"),
        *(
            ({"format": 1, "files": {name: {"bytes": 1, "sha256": "0" * 64}}}, "is no manifest")
            for name in ("../x", "/etc/passwd", "a/../b", "./a", "a//b", "", "a\n", "a\\b", "c:x")
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(run: Path, text: object, said: str) -> None:
    (run / manifest.NAME).write_text(json.dumps(text))
    with pytest.raises(InputError, match=r"manifest\.json: ") as caught:
        load_fit(run)
    assert said in str(caught.value)


def test_no_link_leads_out_of_the_folder(run: Path, tmp_path: Path) -> None:
    metrics = run / "metrics.json"
    metrics.rename(tmp_path / "metrics.json")
    metrics.symlink_to(tmp_path / "metrics.json")
    with pytest.raises(InputError, match=r"metrics\.json: is a link that leads out"):
        load_fit(run)
    metrics.unlink()
    (tmp_path / "metrics.json").rename(run / "other.json")
    metrics.symlink_to("other.json")
    (tmp_path / "link").symlink_to(run)
    load_fit(tmp_path / "link")


def test_what_is_no_ordinary_file_is_not_opened(run: Path) -> None:
    """A pipe would keep the reader waiting for ever."""
    (run / manifest.NAME).write_text(manifest.to_text({}))
    (run / "spec.yaml").unlink()
    os.mkfifo(run / "spec.yaml")
    with pytest.raises(InputError, match=r"spec\.yaml: is not an ordinary file"):
        verified(run, "spec.yaml")


def test_parameters_are_those_of_the_metrics(run: Path) -> None:
    """Where the files are whole, but are not of the same fit."""
    tensors = load_tensors((run / PARAMETERS).read_bytes())
    tensors["gate.bias_0"] += 1
    (run / PARAMETERS).write_bytes(save_tensors(tensors))
    with pytest.raises(InputError, match="SHA-256 differs"):
        verified_file(run / PARAMETERS)
    seal(run)
    with pytest.raises(InputError, match="parameters_sha256 differs"):
        load_fit(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": NaN}', "'NaN' is not a finite number"),
        (b"[-Infinity]", "is not a finite number"),
        (b"[1e999]", "'1e999' is not a finite number"),
        (b"[" * 100_000, "cannot be read"),
        (b"9" * 10_000, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "cannot be read"),
        (b" " * (LARGEST + 1), f"more than {LARGEST}"),
    ],
)
def test_json_is_read_strictly(text: bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"a\.json: ") as caught:
        parse_json(text, "a.json")
    assert said in str(caught.value)


def test_comparisons_and_their_fits_have_each_their_manifest(tmp_path: Path) -> None:
    (tmp_path / "enumerate-0").mkdir()
    for name in ("comparison.json", "enumerate-0/metrics.json"):
        (tmp_path / name).write_text("{}")
    seal(tmp_path / "enumerate-0")
    seal(tmp_path)
    found: dict[str, Any] = json.loads((tmp_path / manifest.NAME).read_text())["files"]
    assert list(found) == ["comparison.json"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The directory of an estimator."""
    x = np.linspace(-2, 2, 40)[:, None]
    model = MoEClassifier(num_experts=2, restarts=1, random_state=0)
    model.fit(x, np.where(x[:, 0] > 0, "one", "two")).save(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("classes", {"dtype": "<U100000000", "values": ["a", "b"]}, "is not a type of labels"),
        ("classes", {"dtype": "V8", "values": ["a", "b"]}, "is not a type of labels"),
        ("classes", {"dtype": "os.system", "values": ["a", "b"]}, "classes: not class labels"),
        ("parameters", {"__class__": "evil.run"}, "not parameters of a MoEClassifier"),
        ("parameters", {"hidden": 3}, "not parameters of a MoEClassifier"),
        ("estimator", "evil.run", "holds a evil.run, not a MoEClassifier"),
        ("loader", "evil.run", "loader"),
    ],
)
def test_an_estimator_takes_nothing_but_its_own(
    saved: Path, name: str, value: object, said: str
) -> None:
    path = saved / "estimator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=r"estimator\.json: has .* bytes"):
        MoEClassifier.load(saved)
    seal(saved)
    with pytest.raises(InputError, match=r"estimator\.json: ") as caught:
        MoEClassifier.load(saved)
    assert said in str(caught.value)


def test_a_table_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(InputError, match=r"train\.csv: is not an ordinary file"):
        read_table(tmp_path / "train.csv")


def test_a_model_that_no_memory_holds_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert terminal.exit_code(caught.value) == terminal.ENVIRONMENT
    assert "out of memory" in capsys.readouterr().err
