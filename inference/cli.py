"""The command `pyromoe`.

Reading a spec, its data and the catalogue takes no torch, so that `--help`, `check`, `schema` and
`treatments` answer at once; the other commands import what they need when they are called.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
from types import ModuleType
from typing import Annotated, Any

import typer

import pyromoe
from pyromoe.inference import commands, terminal
from pyromoe.inference.coefficients_command import coefficients, evaluate
from pyromoe.inference.gradients_command import gradients
from pyromoe.inference.options import Settings, SpecPath  # noqa: TC001  # typer reads them
from pyromoe.inference.select_command import select

app = typer.Typer(
    help="""Mixtures of experts with a discrete latent, in Pyro.

    A spec (YAML) names the data, the experts, the gate, and how the gradient gets through z.
    Smallest spec: [bold]data: {file: train.csv, response: y}[/bold] and
    [bold]likelihood: {family: normal}[/bold].

    Start with: pyromoe check SPEC, then pyromoe fit SPEC, then pyromoe inspect RUN.""",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def check(spec: SpecPath, set_: Settings = None) -> None:
    """Validate a spec and its data, and print every default."""
    _lightly()
    from pyromoe.inference.choice import settle
    from pyromoe.inference.plan import make_plan
    from pyromoe.models.data import load
    from pyromoe.models.spec_file import read_spec, to_yaml

    file = read_spec(spec, set_ or ())
    plan, data = make_plan(file), load(file)
    settled = settle(plan.spec, len(data.train.rows))
    terminal.out.print(to_yaml(settled), markup=False, end="")
    test, columns = len(data.test.rows), data.encoding.columns
    classes = f", {data.encoding.num_classes} classes" if data.encoding.num_classes else ""
    terminal.out.print(
        f"# {spec} is valid: {len(data.train.rows)} training and {test} test rows, "
        f"{len(columns)} predictor columns{classes}",
        markup=False,
    )


for heavy in (
    commands.fit,
    commands.compare,
    select,
    gradients,
    commands.predict,
    commands.inspect,
    coefficients,
    evaluate,
):
    app.command()(heavy)


@app.command()
def treatments(
    name: Annotated[str | None, typer.Argument(help="One of them, with its formula.")] = None,
) -> None:
    """List the treatments of z, with what they claim."""
    _lightly()
    from pyromoe.inference.plan import find
    from pyromoe.inference.treatments import TREATMENTS
    from pyromoe.models.spec_file import SpecFile

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
def schema() -> None:
    """Print the JSON Schema of a spec, for completion in editors."""
    from pyromoe.models.spec_file import json_schema

    terminal.out.print(json.dumps(json_schema(), indent=2), markup=False)


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
    except (Exception, KeyboardInterrupt) as error:
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


class _Later(ModuleType):
    """A module that is imported when something is first asked of it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _lightly() -> None:
    """Prepare for a command that ends at once.

    There is no garbage to collect, and torch waits until something is asked of it: the catalogue
    only names it.
    """
    gc.disable()
    if "torch" not in sys.modules:
        later = _Later("torch")
        later.__spec__ = importlib.util.find_spec("torch")
        sys.modules["torch"] = later
