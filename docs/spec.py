"""Write docs/spec.md from the settings as they are declared.

python docs/spec.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pyromoe.models.specs.setting_descriptions import TAGS, choices, settings_of
from pyromoe.models.specs.spec import Spec
from pyromoe.models.specs.spec_file import setting_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyromoe.models.specs.setting_descriptions import Setting
    from pyromoe.models.specs.settings import Section

PAGE = Path(__file__).with_name("spec.md")
HEAD = """\
# The spec

Written from the settings as they are declared by `make pages`; a test keeps it up to date.

A spec is a YAML file. Only `data` and `likelihood.family` are required; a setting that is not
listed here is an error. `pyromoe new DATA` writes a spec with comments, `pyromoe check SPEC` prints
one with every default, and `--set fit.epochs=50` replaces a setting. The folder `examples`
has a spec for each family and gate, [engel.yaml](../examples/engel.yaml) for instance.

Editors with a YAML language server (VS Code: the extension "YAML") complete and explain settings
once they know the JSON Schema. Write it beside the spec, and name it in the first line; `pyromoe
new` names it where it finds the file.

```shell
pyromoe schema --out pyromoe.schema.json
```

```yaml
# yaml-language-server: $schema=pyromoe.schema.json
data: {file: train.csv, response: y}
likelihood: {family: normal}
```

"""
LINKS = {
    "data": "Groups, several responses, weights and missing values: [rows.md](rows.md).",
    "likelihood": "What each family is: [families.md](families.md).",
    "gate": "What each gate is: [gates.md](gates.md).",
    "priors": "What each does: [weights.md](weights.md), [regularisation.md](regularisation.md).",
    "guide": "Posteriors of the weights: [weights.md](weights.md).",
    "treatment": "Names, claims and options: [catalogue.md](catalogue.md). An option that is a "
    "number may change over the fit: `temperature: {start: 1.0, end: 0.3, schedule: cosine}`.",
    "fit": "Optimisers and starts: [fitting.md](fitting.md); early stopping: "
    "[regularisation.md](regularisation.md).",
    "select": "How it chooses: [selection.md](selection.md).",
}


def default_of(setting: Setting) -> str:
    """Return what a setting is where it is left out, as it would be written."""
    if setting.required:
        return "required"
    if setting.depends:
        return "depends"
    if isinstance(setting.default, BaseModel) or setting.default is None:
        return ""
    return f"`{setting_line('default', setting.default).removeprefix('default: ')}`"


def table(section: type[Section], *, tags: bool = True) -> Iterator[str]:
    """Give a table of the settings of a section, without those that are sections themselves."""
    rows = [s for s in settings_of(section) if not s.sections and (tags or s.name not in TAGS)]
    if rows:
        yield "| setting | default | allowed | |"
        yield "|---|---|---|---|"
    for s in rows:
        cells = (f"`{s.name}`", default_of(s), s.allowed, s.what)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    if rows:
        yield ""


def described(section: type[Section], path: str) -> Iterator[str]:
    """Give the headings and tables of the sections in a section."""
    for setting in settings_of(section):
        here = f"{path}.{setting.name}".lstrip(".")
        if not setting.sections:
            continue
        yield f"{'#' * (here.count('.') + 2)} {here}\n"
        yield f"{setting.what} {LINKS.get(here, '')}".rstrip() + "\n"
        if len(setting.sections) > 1:
            yield from variants(setting)
            continue
        yield from table(setting.sections[0])
        yield from described(setting.sections[0], here)


def variants(setting: Setting) -> Iterator[str]:
    """Give the table of what chooses a section, and those of the settings that it then has."""
    tag = next(name for name in TAGS if name in setting.sections[0].model_fields)
    yield f"| `{tag}` | |"
    yield "|---|---|"
    for words, what in choices(setting.sections).items():
        yield f"| {words} | {what} |"
    yield ""
    for section in setting.sections:
        lines = [*table(section, tags=False)]
        if lines:
            yield f"With `{tag}: {' | '.join(choices((section,)))}`:\n"
        yield from lines


def page() -> str:
    """Return the whole page."""
    top = "## At the top\n\n" + "\n".join(table(Spec))
    return HEAD + top + "\n" + "\n".join(described(Spec, "")).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
