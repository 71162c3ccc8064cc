"""Files that mean harm, by name: what to put where in a run directory, or beside a spec."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle  # to see that nothing reads them
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch
from safetensors.torch import load as load_tensors, save as save_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CANARY = "hostile-canary"
UNKNOWN = "is not of the model of the spec"
PARAMETERS, ENCODING = "checkpoints/parameters.safetensors", "checkpoints/encoding.json"
PREDICT = ("predict", "RUN", "train.csv", "--out", "out.csv", "--overwrite")
COMMANDS = {
    PARAMETERS: PREDICT, ENCODING: PREDICT, "metrics.json": ("inspect", "RUN"),
    "posterior.nc": ("report", "RUN"), "spec.yaml": PREDICT,
    "history.csv": ("report", "RUN"), "manifest.json": ("inspect", "RUN"),
}  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """A file that means harm.

    Attributes:
        name: of the case.
        file: in a run directory; its command is that of COMMANDS.
        raw: what it holds.
        said: is in the error; empty where the command ends well.
    """

    name: str
    file: str
    raw: bytes
    said: str


class _System:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


class _Eval:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open('{CANARY}', 'w').close()",)


def pickles() -> Iterator[tuple[str, bytes]]:
    """Yield objects that run a command when they are read, also as torch and NumPy write them."""
    yield "os.system", pickle.dumps(_System())
    yield "eval", pickle.dumps(_Eval(), protocol=0)
    yield "nested", pickle.dumps({"state": [{"exp_avg": (1, _System())}]}, protocol=4)
    saved = io.BytesIO()
    torch.save({"gate.bias_0": _System()}, saved)
    yield "torch.save", saved.getvalue()
    array = io.BytesIO()
    np.save(array, np.array([_System()], dtype=object), allow_pickle=True)
    yield "npy", array.getvalue()


def header(value: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A .safetensors file."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(whole: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield broken files of parameters."""
    f32: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    read = "cannot be read"
    yield "a header of 4 GB", header({}, length=2**32), read
    yield "a header of 2^63", header({}, length=2**63), read
    yield "no header", b"", read
    yield "a header that is no JSON", header(b"{" * 50), read
    yield "a deep header", header(b"[" * 100_000), read
    yield "overlapping", header({"a": f32, "b": f32}, bytes(8)), read
    yield "a hole", header({"a": f32 | {"data_offsets": [8, 16]}}, bytes(16)), read
    yield "out of bounds", header({"a": f32 | {"data_offsets": [0, 2**40]}}, bytes(8)), read
    yield "negative", header({"a": f32 | {"data_offsets": [-8, 0]}}, bytes(8)), read
    yield "a huge shape", header({"a": f32 | {"shape": [2**40, 2**40]}}, bytes(8)), read
    yield "unknown dtype", header({"a": f32 | {"dtype": "PICKLE"}}, bytes(8)), read
    yield "a rare dtype", header({"a": f32 | {"dtype": "F8_E4M3", "shape": [8]}}, bytes(8)), UNKNOWN
    known, name = load_tensors(whole), "gate.bias_0"
    length = struct.unpack("<Q", whole[:8])[0]
    first = {**json.loads(whole[8 : 8 + length]), "__metadata__": {}}[name]
    twice = f'{{"{name}": {json.dumps(first)}, '.encode() + whole[9 : 8 + length]
    yield "a key twice", header(twice, whole[8 + length :]), read
    for what, value, said in (
        ("not a number", known[name] * torch.nan, "not finite"),
        ("infinite", known[name] / 0, "not finite"),
        ("another shape", torch.zeros(7), "another shape"),
        ("another dtype", known[name].to(torch.float16), "another shape or type"),
    ):
        yield what, save_tensors({**known, name: value}), said
    yield "one too many", save_tensors({**known, "evil.weight": torch.zeros(1)}), UNKNOWN
    yield "one too few", save_tensors({n: t for n, t in known.items() if n != name}), "is missing"
    path = {"_instantiator": "evil.run", "__reduce__": "evil.run"}
    yield "a path to import in its metadata", save_tensors(known, path), ""


def documents(whole: dict[str, bytes]) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield JSON that means harm, as metrics and as an encoding."""
    for file in ("metrics.json", ENCODING):
        good = json.loads(whole[file])
        first = next(iter(good))
        for what, raw, said in (
            ("deep", b"[" * 100_000, "cannot be read"),
            ("a long number", b'{"n": ' + b"9" * 100_000 + b"}", "cannot be read"),
            ("a huge number", b'{"n": 1e999}', "not a finite number"),
            ("NaN", b'{"n": NaN}', "not a finite number"),
            ("Infinity", b'{"n": -Infinity}', "not a finite number"),
            ("twice", b'{"n": 1, "n": 2}', "is there twice"),
            ("half a character", b'{"\\ud800": 1}', "cannot be read"),
            ("large", b'["' + b"a" * 2**24 + b'"]', "more than"),
            ("a list", b"[1]", file.rsplit("/", maxsplit=1)[-1]),
            ("a wrong type", json.dumps(good | {first: "evil.run"}).encode(), first),
        ):
            yield what, file, raw, said


def specs(whole: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield specs that mean harm."""
    bomb = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefghi"
    )
    run = f"!!python/object/apply:os.system ['touch {CANARY}']".encode()
    yield "a tag that runs", b"name: " + run + b"\n" + whole, "tags"
    yield "a tag that names", b"name: !!python/name:os.system\n" + whole, "tags"
    yield "a tag of a module", b"name: !!python/module:evil\n" + whole, "tags"
    yield (
        "a tag of its own",
        b"%TAG ! tag:yaml.org,2002:python/\n---\nname: !object:evil {}\n",
        "tags",
    )
    yield "an anchor", b"name: &a x\n" + whole, "anchors"
    yield "an alias bomb", bomb + whole, "anchors"
    yield "a merge key", b"<<: {seed: 1}\n" + whole, "merge keys"
    yield "deep", b"name: " + b"[" * 3000 + b"]" * 3000 + b"\n" + whole, "32 deep"
    yield "deep in blocks", b"".join(b" " * i + b"a:\n" for i in range(1000)), "32 deep"
    yield "two documents", whole + b"\n---\n" + whole, "second YAML document"
    yield "large", b"#" * 2**21, "larger than 1 MiB"
    yield "binary", bytes(range(256)), "spec.yaml"
    wide = b"kind: mlp\n  hidden: [65536, 65536]\n"
    experts = whole.index(b"\nexperts:")
    text = whole[: experts + 1] + b"experts:\n  number: 4096\n  " + wide + _after(whole, experts)
    yield "a model too large to build", text, "too small for the model"


def _after(text: bytes, section: int) -> bytes:
    """What follows a section of a spec."""
    lines = text[section + 1 :].split(b"\n")
    rest = next(i for i, line in enumerate(lines[1:], 1) if line[:1].isalpha())
    return b"\n".join(lines[rest:])


def manifests() -> Iterator[tuple[str, bytes, str]]:
    """Yield manifests that lead elsewhere."""
    entry = {"bytes": 1, "sha256": "0" * 64}
    for name in ("../../x", "/etc/passwd", "a/../../x", "..", "\x1b[31m", "a\0b"):
        text = json.dumps({"format": 1, "files": {name: entry}}).encode()
        yield f"to {name!r}", text, "is no manifest"
    yield "of a format to come", b'{"format": 2, "loader": "evil.run"}', "install a newer pyromoe"
    yield "deep", b"[" * 100_000, "cannot be read"
    yield "large", b" " * (2**24 + 1), "too large"
    yield "a pickle", pickle.dumps(_System()), "cannot be read"


def posteriors(whole: bytes, elsewhere: Path) -> Iterator[tuple[str, bytes, str]]:
    """Yield posteriors that mean harm."""

    def changed(change: Callable[[h5py.File], None]) -> bytes:
        file = io.BytesIO(whole)
        with h5py.File(file, "a") as opened:
            change(opened)
        return file.getvalue()

    def put(name: str, change: Callable[[np.ndarray[Any, Any]], object]) -> bytes:
        def write(file: h5py.File) -> None:
            values = np.asarray(change(file[name][()]))
            del file[name]
            file[name] = values

        return changed(write)

    resp, read = "posterior/resp", "cannot be read"
    size, space = (2**20, 2**20), h5py.Empty("f4")
    outside = [(str(elsewhere), 0, h5py.h5f.UNLIMITED)]
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(elsewhere), "secret", (4,))
    external = h5py.ExternalLink(str(elsewhere), "/secret")
    for what, change in (
        ("a link to a file", lambda f: f.__setitem__("posterior/a", external)),
        ("a link within", lambda f: f.__setitem__("posterior/a", h5py.SoftLink("/posterior"))),
        ("an array in a file", lambda f: f.create_dataset("a", (4,), "u1", external=outside)),
        ("an array of a file", lambda f: f.create_virtual_dataset("a", layout)),
        ("a group in itself", lambda f: f["posterior"].__setitem__("a", f["posterior"])),
        ("a group in the root", lambda f: f.__setitem__("a", f["/"])),
        ("a deep group", lambda f: f.create_group("a/b/c/d")),
        ("an array that is not there", lambda f: f.create_dataset("posterior/a", size, "f8")),
        ("pieces that are not there",
         lambda f: f.create_dataset("posterior/a", size, "f8", chunks=(64, 64))),
        ("a filter", lambda f: f.create_dataset("posterior/a", (99,), "f4", scaleoffset=2)),
        ("no numbers", lambda f: f.create_dataset("posterior/a", data=space)),
        ("no group", lambda f: f.__delitem__("posterior")),
        ("no rows", lambda f: f.__delitem__("constant_data/row")),
    ):  # fmt: skip
        yield what, changed(change), "" if what == "no numbers" else read
    yield "another number of experts", put(resp, lambda r: r[..., :1]), read
    yield "negative", put(resp, lambda r: -r), read
    yield "not numbers", put(resp, lambda r: r * np.nan), read
    yield "text", put(resp, lambda r: np.full(r.shape, CANARY.encode())), read
    yield "flat", put(resp, lambda r: r.ravel()), read
    yield "a row of no table", put("constant_data/row", lambda r: r - 10**9), read
    yield "another column", put("constant_data/x", lambda x: np.concatenate([x, x], 1)), read
    yield "not a number", put("constant_data/x", lambda x: x * np.inf), read
    yield "only the first bytes", whole[:8], read
    yield "NetCDF 3", b"CDF\x01" + bytes(100), read
    yield "many zeros", whole[:512] + bytes(len(whole) - 512), read


def hostile(whole: dict[str, bytes], elsewhere: Path) -> Iterator[Hostile]:
    """Yield them all.

    Args:
        whole: the files of a run directory.
        elsewhere: a file that none of them may read.
    """
    for what, raw in pickles():
        for file in (PARAMETERS, ENCODING, "metrics.json", "posterior.nc", "spec.yaml"):
            yield Hostile(f"pickle: {what} as {file}", file, raw, file.rsplit("/", maxsplit=1)[-1])
    for what, raw, said in tensors(whole[PARAMETERS]):
        yield Hostile(f"tensors: {what}", PARAMETERS, raw, said)
    for what, file, raw, said in documents(whole):
        yield Hostile(f"JSON: {what} as {file}", file, raw, said)
    for what, raw, said in specs(whole["spec.yaml"]):
        yield Hostile(f"YAML: {what}", "spec.yaml", raw, said)
    for what, raw, said in manifests():
        yield Hostile(f"manifest: {what}", "manifest.json", raw, said)
    for what, raw, said in posteriors(whole["posterior.nc"], elsewhere):
        yield Hostile(f"HDF5: {what}", "posterior.nc", raw, said)
    encoded = base64.b64encode(pickle.dumps(_System()))
    yield Hostile(
        "CSV: a formula", "history.csv", b"restart,step,loss\n=cmd|' /C x'!A0,1,1\n", "history.csv"
    )
    yield Hostile("CSV: a pickle", "history.csv", encoded, "history.csv")
    yield Hostile("CSV: a long cell", "history.csv", b'"' + b"a" * 10**6, "history.csv")
