"""The command that writes a specification for a table, from answers to a few questions."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.prompt import Confirm
from rich.text import Text

from pyromoe.inference import terminal
from pyromoe.inference.commands.startup import lightly
from pyromoe.inference.files.writing import new_file
from pyromoe.models.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyromoe.models.tables.column_summary import ColumnSummary
    from pyromoe.models.tables.table import Rows

SCHEMA = "pyromoe.schema.json"
"""Where it lies beside the specification, editors are told of it."""
HEAD = """\
Made by pyromoe new from {data} ({rows} rows). Lines that begin with # and a space explain.
To change a setting that begins with # alone, remove the #; it shows the default.
All settings: pyromoe check prints them with their values, docs/spec.md explains them."""
ASKED = "A few questions; Enter takes the answer in brackets, and the spec can be edited later."
UNASKED = "Nobody is asked, and every guess is taken; options and the spec can say otherwise."
MOST_SHOWN = 40
GateKind = Literal[
    "equal", "constant", "linear", "mlp", "cosine", "top_k", "stick_breaking", "gaussian"
]


def new(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A .csv, .csv.gz or .parquet file.")],
    out: Annotated[Path, typer.Option("--out", help="The spec to write.")] = Path("spec.yaml"),
    response: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    family: Annotated[
        str | None, typer.Option(help="Family of the response, e.g. poisson.")
    ] = None,
    experts: Annotated[int | None, typer.Option(min=1, max=4096, help="How many experts.")] = None,
    gate: Annotated[GateKind | None, typer.Option(help="Kind of the gate; else linear.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every guess.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Ask a few questions about a table, and write a spec with comments."""
    lightly()
    from pyromoe.inference.commands.interview import Interview
    from pyromoe.inference.commands.questions import Given, ask_all
    from pyromoe.models.tables.column_summary import summarise
    from pyromoe.models.tables.table import read_rows

    ask = not yes and sys.stdin.isatty() and terminal.out.is_terminal
    _check_target(out)
    rows = read_rows(data)
    if not rows.table.num_rows:
        raise InputError("has no rows", file=str(data))
    replace = _may_replace(out, ask=ask, force=force)
    columns = summarise(rows)
    _show(rows, columns)
    terminal.out.print(f"\n{ASKED if ask else UNASKED}", markup=False)
    interview = Interview(rows, columns, ask)
    place = Path(os.path.relpath(data, out.parent)).as_posix()
    tree = ask_all(interview, place, Given(response, family, experts, gate))
    with new_file(out, overwrite=replace) as path:
        path.write_text(_checked_text(tree, rows, out, interview.notes), encoding="utf-8")
    terminal.out.print(
        f"\nwritten to {out}; next: pyromoe fit {shlex.quote(str(out))}", markup=False
    )


def _check_target(out: Path) -> None:
    """Refuse a file that could not be written, or that no specification would be in."""
    if out.suffix not in (".yaml", ".yml"):
        raise InputError("the name must end in .yaml", file=str(out), remedy="name another --out")
    if not out.parent.is_dir():
        raise InputError("no such folder", file=str(out), remedy="make it, or name another --out")
    if out.is_dir():
        raise InputError("is a folder", file=str(out), remedy="name another --out")


def _may_replace(out: Path, *, ask: bool, force: bool) -> bool:
    """Return whether a file may be replaced; nobody is asked about one that does not exist."""
    if force or not out.exists():
        return force
    from pyromoe.inference.commands.interview import answered

    question = Text(f"{one_line(str(out))} exists already; replace it?")
    if ask and answered(lambda: Confirm.ask(question, default=False, console=terminal.out)):
        return True
    remedy = "name another with --out, or replace it with --force"
    raise InputError("exists already", file=str(out), remedy=remedy)


def _show(rows: Rows, columns: list[ColumnSummary]) -> None:
    """Print what the columns hold."""
    where, number = one_line(rows.source), rows.table.num_rows
    terminal.out.print(f"{where}: {number} rows, {len(columns)} columns\n", markup=False)
    headings = ["", "column", "holds", "distinct", "missing", "values"]
    terminal.table(
        headings,
        [
            (i, c.name, c.kind, c.distinct, c.missing, c.span)
            for i, c in enumerate(columns[:MOST_SHOWN], start=1)
        ],
    )
    if len(columns) > MOST_SHOWN:
        more = f"and {len(columns) - MOST_SHOWN} columns more"
        terminal.out.print(more, markup=False)


def _checked_text(tree: dict[str, Any], rows: Rows, out: Path, notes: Mapping[str, str]) -> str:
    """Return the specification, after the checks that `pyromoe check` makes."""
    from pydantic import ValidationError

    from pyromoe.inference.fitting.plan import make_plan
    from pyromoe.models.data.divide import Undivided
    from pyromoe.models.specs.commented_spec import commented
    from pyromoe.models.specs.spec import Spec
    from pyromoe.models.specs.spec_errors import explain
    from pyromoe.models.specs.spec_file import parse_spec

    try:
        spec = Spec.model_validate(tree)
    except ValidationError as error:
        raise explain(error, tree, {}, str(out)) from None
    modeline = f"yaml-language-server: $schema={SCHEMA}\n"
    beside = (out.parent / SCHEMA).exists()
    head = HEAD.format(data=one_line(Path(rows.source).name), rows=rows.table.num_rows)
    text = commented(spec, tree, notes, (modeline if beside else "") + head)
    file = parse_spec(text, str(out))
    make_plan(file)
    Undivided.of(file, rows, None).split()
    return text
