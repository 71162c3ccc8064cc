"""Write docs/catalogue.md from the table of treatments.

python docs/catalogue.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromoe.inference.treatments import TREATMENTS

if TYPE_CHECKING:
    from pyromoe.inference.treatments import Treatment

PAGE = Path(__file__).with_name("catalogue.md")
HEAD = """\
# Catalogue of treatments

Written from the table in `inference/treatments/` by `make pages`; a test keeps it up to date.
What is estimated (the objective) and how its gradient is estimated (the treatment) are two choices;
[decisions.md](decisions.md) says which guide makes which objective. `pyromoe gradients` measures
all of this on a model and data of your own.

- **unbiased**: whether the mean of the gradient is the exact gradient of the objective. For
  discrete noise a test sums over every outcome of it and allows 1e-10; for Gumbel and Dirichlet
  noise it integrates, and allows 1e-7. For every biased treatment a test holds the mean to the
  formula below.
- **experts run**: likelihoods a datum and step with the default options, for K = 8 and K = 64
  experts. Treatments marked *soft* ask for the likelihood, or its slope, between the experts, and
  so run all K; *hard* ones draw an expert and take the slope there.
- **value**: whether the number returned is, on average, the objective; *other* where something
  else is optimised, with a penalty or without some of the experts.

"""


def row(t: Treatment[Any]) -> str:
    """Return a line of the table."""
    config = t.config()
    runs = " / ".join(str(t.evaluations(config, k)) for k in (8, 64))
    soft = "hard" if t.hard else "soft" if t.needs_relaxed_likelihood else ""
    cells = [
        f"[{t.name}](#{t.name})",
        ", ".join(t.objectives),
        "yes" if t.unbiased else "no",
        f"{runs} {soft}".strip(),
        "objective" if t.exact_value else "other",
        t.summary,
    ]
    return f"| {' | '.join(cells)} |"


def section(t: Treatment[Any]) -> str:
    """Return what a treatment is, claims and takes."""
    options = [f"`{f.name}` = {f.default!r}" for f in dataclasses.fields(t.config)]
    said = f"Options: {', '.join(options)}.\n" if options else "No options.\n"
    return f"## {t.name}\n\n```text\n{t.description}\n```\n\n{said}"


def page() -> str:
    """Return the whole page."""
    columns = ["treatment", "objectives", "unbiased", "experts run", "value", "what it does"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [row(t) for t in TREATMENTS.values()]
    sections = "\n".join(section(t) for t in TREATMENTS.values())
    return HEAD + "\n".join(lines) + "\n\n" + sections


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
