"""The command `pyromoe`.

Reading a spec, its data and the catalogue takes no torch, so that `--help`, `check`, `schema` and
`treatments` answer at once; the other commands import what they need when they are called.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path  # noqa: TC003  # typer reads it
from typing import Annotated

import typer

import pyromoe
from pyromoe.inference import terminal
from pyromoe.inference.commands import of_runs as commands
from pyromoe.inference.commands.coefficients import coefficients, evaluate
from pyromoe.inference.commands.compare import compare
from pyromoe.inference.commands.fit import fit
from pyromoe.inference.commands.gradients import gradients
from pyromoe.inference.commands.new import new
from pyromoe.inference.commands.options import Overwrite, Settings, SpecPath  # noqa: TC001  # typer reads them
from pyromoe.inference.commands.report import report
from pyromoe.inference.commands.select import select
from pyromoe.inference.commands.startup import lightly
from pyromoe.inference.files.signals import Stopped
from pyromoe.inference.files.writing import new_file

app = typer.Typer(
    help="""Mixtures of experts with a discrete latent, in Pyro.

    A spec (YAML) names the data, the experts, the gate, and how the gradient gets through z.
    Smallest spec: [bold]data: {file: train.csv, response: y}[/bold] and
    [bold]likelihood: {family: normal}[/bold].

    Start with: pyromoe new DATA, then pyromoe fit SPEC, then pyromoe inspect RUN.""",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command()(new)


@app.command()
def check(spec: SpecPath, set_: Settings = None) -> None:
    """Validate a spec and its data, and print every default."""
    lightly()
    from pyromoe.inference.fitting.choice import check_shards, settle
    from pyromoe.inference.fitting.plan import make_plan
    from pyromoe.models.data.data import load
    from pyromoe.models.specs.spec_file import read_spec, to_yaml

    file = read_spec(spec, set_ or ())
    plan = make_plan(file)
    with terminal.progress() as report:
        data = load(file, report)
    settled = settle(plan.spec, data.size)
    check_shards(file, settled, data.size)
    terminal.out.print(to_yaml(settled), markup=False, end="")
    columns = data.encoding.columns
    classes = f", {data.encoding.num_classes} classes" if data.encoding.num_classes else ""
    terminal.out.print(
        f"# {spec} is valid: {data.size} training and {data.tested} test rows, "
        f"{len(columns)} predictor columns{classes}",
        markup=False,
    )


for heavy in (
    fit,
    compare,
    select,
    gradients,
    commands.predict,
    commands.inspect,
    report,
    coefficients,
    evaluate,
):
    app.command()(heavy)


@app.command()
def treatments(
    name: Annotated[str | None, typer.Argument(help="One of them, with its formula.")] = None,
) -> None:
    """List the treatments of z, with what they claim."""
    lightly()
    from pyromoe.inference.fitting.plan import find
    from pyromoe.inference.treatments import TREATMENTS
    from pyromoe.models.specs.spec_file import SpecFile

    if name is not None:
        chosen = find(SpecFile(None, "treatments"), name, "")  # type: ignore[arg-type]
        terminal.out.print(f"{chosen.name}: {chosen.description}", markup=False)
        return
    terminal.table(
        ["treatment", "objectives", "unbiased", "experts run, K = 8", "what it does"],
        [
            (t.name, ", ".join(t.objectives), t.unbiased, t.evaluations(t.config(), 8), t.summary)
            for t in TREATMENTS.values()
        ],
    )


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="A file to write it to.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the JSON Schema of a spec, for completion and hover text in editors.

    Beside a spec, as pyromoe.schema.json, it is named in those that pyromoe new writes.
    """
    lightly()
    from pyromoe.inference.commands.spec_schema import spec_schema

    text = json.dumps(spec_schema(), indent=2)
    if out is None:
        terminal.out.print(text, markup=False)
        return
    with new_file(out, overwrite=overwrite) as path:
        path.write_text(f"{text}\n", encoding="utf-8")
    terminal.out.print(f"written to {out}", markup=False)


def main() -> None:
    """Run the command; every error is one line, and a code says of which kind."""
    # Pydantic would look through every installed package for plugins, a tenth of a second.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with terminal.terminable():
            code = _run()
        if code == terminal.INTERRUPTED:  # typer has swallowed the exception
            raise KeyboardInterrupt
    except BrokenPipeError:
        terminal.quiet_pipe()
        code = terminal.OK
    except (Exception, KeyboardInterrupt, Stopped) as error:
        code = terminal.exit_code(error)
    sys.exit(code)


def _run() -> int:
    """Run the command, with errors of usage in one line too."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        terminal.out.print(f"pyromoe {pyromoe.__version__}")
        return terminal.OK
    try:
        result = app(standalone_mode=False, prog_name="pyromoe")
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "pyromoe"
        terminal.fail(f"{message().rstrip('.')}; see {command} --help")
        return terminal.INPUT
    return result if isinstance(result, int) else terminal.OK
