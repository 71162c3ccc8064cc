"""The section that says how to get the same again."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING, Any

from pyromoe.inference.files.verified import verified
from pyromoe.inference.report.page import Listing, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def reproduce_section(folder: Path, commands: Sequence[str], metrics: dict[str, Any]) -> Section:
    """Return commands, versions, checksums and the spec.

    Args:
        folder: the directory.
        commands: what to type, with {} in the place of the directory.
        metrics: of a run, for versions and the checksum of its parameters; may be empty.
    """
    name = shlex.quote(folder.name or str(folder))
    rows = [*metrics.get("versions", {}).items()]
    if "parameters_sha256" in metrics:
        rows.append(("SHA-256 of the parameters", metrics["parameters_sha256"]))
    path = folder / "spec.yaml"
    listings = [Listing("Commands", "\n".join(each.format(name) for each in commands))]
    if path.is_file():
        text = verified(folder, path.name)
        rows.append(("SHA-256 of spec.yaml", hashlib.sha256(text).hexdigest()))
        listings.append(Listing("spec.yaml", text.decode("utf-8", "replace")))
    tables = (Table("Versions and checksums", ("of", "is"), tuple(rows)),) if rows else ()
    return Section("Reproduce", tables=tables, listings=tuple(listings))
