"""A page as HTML; whatever comes from a file is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pyromoe.inference.report.page import BARS
from pyromoe.inference.terminal import printable, shown
from pyromoe.models.errors import one_line

if TYPE_CHECKING:
    from pyromoe.inference.report.page import Page

LARGE, HUGE = 1e3, 1e6


def render(page: Page) -> str:
    """Return a page as one HTML file, without scripts and without anything from elsewhere."""
    environment = Environment(
        loader=PackageLoader("pyromoe.inference.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["printable"] = printable
    style = files("pyromoe.inference.report").joinpath("style.css").read_text(encoding="utf-8")
    template = environment.get_template("report.html.j2")
    # Ours, so not to be escaped; a browser takes it by its hash, and no other.
    own = Markup(style)  # noqa: S704
    return template.render(page=page, style=own, policy=_policy(style), bars=BARS)


def _cell(value: object) -> str:
    """Return a value as a cell, with decimals where a number is large, as log-likelihoods are."""
    if isinstance(value, str):
        return one_line(value)
    large = isinstance(value, float) and LARGE <= abs(value) < HUGE
    return f"{value:.2f}" if large else shown(value)


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
