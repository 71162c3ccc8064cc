"""Settings of the site, which Sphinx builds from the root of the repository: `make docs`."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.ext.autosummary import Autosummary

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "pyromoe"
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb"]
exclude_patterns = [".*", "build", "dist", "src"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]

highlight_language = "text"
html_theme = "furo"
html_title = "pyromoe"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_extra_path = ["front"]
html_static_path = ["style"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = os.environ.get("NOTEBOOKS", "cache")
nb_execution_cache_path = "build/notebooks"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_code_prompt_show = "What is checked here"
nb_code_prompt_hide = "What is checked here"

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "set_fit_request, set_score_request",  # of scikit-learn
}
autosummary_generate = False
default_role = "py:obj"
napoleon_attr_annotations = False
napoleon_custom_sections = [("Groups and variables", "params_style")]
napoleon_use_ivar = True
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!pyromoe).*")]  # names of other libraries, and short ones
UNLISTED = (
    "models.likelihoods.likelihood.Restriction",  # an alias
    "inference.files.checkpoints.Saved",  # handed on, not made by users
    "inference.files.signals.Signals",
)
nitpick_ignore = [("py:class", f"pyromoe.{name}") for name in UNLISTED]
suppress_warnings = ["ref.python"]  # two classes are called Noise


class Public(Autosummary):  # type: ignore[misc, unused-ignore]  # typed where it is installed
    """A table of what a package makes public, with the first line of each docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        package = importlib.import_module(self.arguments[0])
        names = [name for name in package.__all__ if callable(getattr(package, name))]
        paths = [f"~{package.__name__}.{name}" for name in names]
        self.content = StringList(paths, "public")
        self.options["nosignatures"] = True
        found: list[nodes.Node] = super().run()
        return found


def prepare(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Give a class what its file says: formula and source. Keep formulas as they are indented."""
    of_file = (inspect.getdoc(inspect.getmodule(thing)) or "").splitlines()
    if what == "class" and len(of_file) > 1:
        lines[1:1] = ["", *of_file]
    for i in range(len(lines) - 1, 0, -1):
        lines[i] = re.sub(r": ([A-Z]\.)$", r": \\\1", lines[i])  # "K." begins no list
        above = next((line for line in reversed(lines[:i]) if line), " ")
        if lines[i].startswith("    ") and not lines[i - 1] and not above.startswith(" "):
            lines[i:i] = ["::", ""]


def name_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write the title of a page where a link names its file: what MyST does with an empty text."""
    of_page = r"\[\w+(?:\.md\](?=\(\w+\.md\))|\](?=\([\w./]+\.ipynb\)))"
    source[0] = re.sub(of_page, "[]", source[0])


def mathml(node: nodes.Element, *, block: bool) -> str:
    """Return a formula as MathML, which browsers show without a script from elsewhere."""
    # What docutils does not know: \big for \bigl, and \frac12 for \frac{1}{2}.
    known = re.sub(r"\\([bB]igg?)(?![a-zA-Z])", r"\\\1l", node.astext())
    known = re.sub(r"frac(\d)(\d)", r"frac{\1}{\2}", known)
    written: str = tex2mathml(known, as_block=block)
    return written.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.1667em"></mspace>')


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula in lines of its own."""
    self.body.append(f'<div class="math">{mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add the table of public names, and how links and formulas are written."""
    app.connect("source-read", name_pages)
    app.connect("autodoc-process-docstring", prepare, priority=400)  # before napoleon
    app.add_directive("public", Public)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
