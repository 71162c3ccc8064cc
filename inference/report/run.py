"""The page of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.report.of_assignments import assignments_section
from pyromoe.inference.report.of_experts import experts_section
from pyromoe.inference.report.of_fit import fit_section
from pyromoe.inference.report.of_predictions import predictions_section
from pyromoe.inference.report.of_weights import weights_section
from pyromoe.inference.report.page import Page
from pyromoe.inference.report.reproduce import reproduce_section
from pyromoe.inference.report.run_files import read_run
from pyromoe.inference.steps.threads import one_thread
from pyromoe.inference.summaries.run import summarise_run

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (
    "pyromoe fit {}/spec.yaml --out again",
    "pyromoe inspect {} --obs 0",
    "pyromoe predict {} NEW.csv --out predictions.csv",
    "pyromoe gradients {}",
)


def run_page(folder: Path) -> Page:
    """Return the page of a run directory.

    Raises:
        InputError: where a file of it is missing or broken.
    """
    summary = summarise_run(folder)
    with one_thread():
        run = read_run(folder)
        sections = (
            experts_section(run),
            assignments_section(run),
            predictions_section(run),
            fit_section(run),
            *weights_section(run),
            reproduce_section(folder, COMMANDS, run.fit.metrics),
        )
    return Page("run", summary, run.colours, sections)
