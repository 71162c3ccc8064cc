"""Datasets that come with scikit-learn or statsmodels, read without importing either."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv

from pyromoe.models.errors import InputError, did_you_mean, listed
from pyromoe.models.tables.table import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
CELL = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
BREAST_CANCER = (
    *(f"mean_{name}" for name in CELL),
    *(f"{name}_error" for name in CELL),
    *(f"worst_{name}" for name in CELL),
)
DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
DIGITS = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))

# Classes as codes in the last column, their names in the first line.
LABELLED = {
    "iris": ("iris.csv", IRIS, "species"),
    "wine": ("wine_data.csv", WINE, "class"),
    "breast_cancer": ("breast_cancer.csv", BREAST_CANCER, "diagnosis"),
}
SKLEARN = ("digits", "diabetes", *LABELLED)
# Only where one column is plainly what the data are about.
STATSMODELS_RESPONSES = {"engel": "foodexp"}


def read_dataset(name: str) -> tuple[pa.Table, str | None]:
    """Return a dataset by name, and the column that is its response if it has one."""
    if name in SKLEARN:
        return _read_sklearn(name)
    statsmodels = _statsmodels()
    if name in statsmodels:
        return read_table(statsmodels[name]), STATSMODELS_RESPONSES.get(name)
    known = [*SKLEARN, *statsmodels]
    remedy = f"{did_you_mean(name, known)} known: {listed(known, 40)}".strip()
    if not statsmodels:
        remedy += "; for more, pip install statsmodels"
    raise InputError(f"no dataset '{name}'", remedy=remedy)


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "datasets" if places else None


def _statsmodels() -> dict[str, Path]:
    folder = _folder("statsmodels")
    paths = sorted(folder.glob("*/*.csv")) if folder else []
    return {
        path.stem: path for path in paths if path.stem == path.parent.name and _has_commas(path)
    }


def _has_commas(path: Path) -> bool:
    with path.open("rb") as file:
        return b"," in file.readline()


def _read_sklearn(name: str) -> tuple[pa.Table, str]:
    folder = _folder("sklearn")
    if folder is None:
        raise InputError(f"dataset '{name}' needs scikit-learn", remedy="pip install scikit-learn")
    try:
        return _parse_sklearn(name, folder / "data")
    except (OSError, EOFError, pa.ArrowException) as error:
        what = f"dataset '{name}' cannot be read ({error})"
        raise InputError(what, remedy="pip install --force-reinstall scikit-learn") from None


def _parse_sklearn(name: str, folder: Path) -> tuple[pa.Table, str]:
    if name == "digits":
        raw = gzip.decompress((folder / "digits.csv.gz").read_bytes())
        return _parse(raw, (*DIGITS, "digit")), "digit"
    if name == "diabetes":
        raw = gzip.decompress((folder / "diabetes_data_raw.csv.gz").read_bytes())
        target = gzip.decompress((folder / "diabetes_target.csv.gz").read_bytes())
        response = _parse(target, ("progression",)).column(0)
        return _parse(raw, DIABETES, " ").append_column("progression", response), "progression"
    file, predictors, response = LABELLED[name]
    first, _, raw = (folder / file).read_bytes().partition(b"\n")
    labels = _parse(b"\n".join(first.strip().split(b",")[2:]), (response,)).column(0)
    table = _parse(raw, (*predictors, response))
    classes = labels.take(table.column(response))
    return table.set_column(len(predictors), response, classes), response


def _parse(raw: bytes, names: Sequence[str], delimiter: str = ",") -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.BufferReader(raw),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=list(names)),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
    )
