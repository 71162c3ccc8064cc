"""Reports in Chromium; `make report-check` installs what this needs, and runs it alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pytest
from report_pages import as_yaml, spec, table, write_run

from pyromoe.inference import cli
from pyromoe.inference.report.written import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.browser
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SERIOUS = ("serious", "critical")
COMMANDS: dict[str, tuple[str, ...]] = {
    "compare": ("--treatments", "enumerate,gumbel_softmax", "--seeds", "0,1"),
    "gradients": ("--treatments", "enumerate,gumbel_softmax,leave_one_out", "--draws", "4"),
    "select": ("--experts", "1,2", "--folds", "2"),
}
RUNS: dict[str, dict[str, Any]] = {
    "normal": spec(),
    "one_expert": spec(number=1),
    "many_experts": spec(number=64),
    "classes": spec("class", "categorical", 3),
    "posterior": spec(guide={"weights": "mean_field"}, data={"group": "g"}),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give Chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path="/usr/bin/chromium",
            args=ARGUMENTS,
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the report of a run, or of what a command wrote, by its name."""
    root = tmp_path_factory.mktemp("reports")
    pyarrow.csv.write_csv(pa.table(table()), root / "train.csv")
    (root / "spec.yaml").write_text(as_yaml(spec()), encoding="utf-8")

    def give(name: str) -> Path:
        folder = root / name
        if not folder.exists() and name in RUNS:
            write_report(write_run(folder, RUNS[name]))
        elif not folder.exists():
            words = [name, root / "spec.yaml", "--out", folder, *COMMANDS[name]]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["pyromoe", *map(str, words)])
                with pytest.raises(SystemExit) as ended:
                    cli.main()
            assert ended.value.code == 0
        return folder / "report.html"

    return give


def elsewhere(address: str) -> list[str]:
    """Return an address that is not in the file itself."""
    return [] if address.startswith(("data:", "file:")) else [address]


def opened(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """Open a report; return its page, and what the console said or was asked of elsewhere."""
    page, said = browser.new_page(), list[str]()
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.extend([dialog.message, str(dialog.dismiss())]))
    page.on("request", lambda request: said.extend(elsewhere(request.url)))
    page.goto(path.as_uri())
    return page, said


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", [*RUNS, *COMMANDS])
def test_a_report_is_silent_and_fits_the_window(
    browser: Any, reports: Callable[[str], Path], name: str, width: int
) -> None:
    page, said = opened(browser, reports(name), width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.evaluate("Array.from(document.images, i => [i.naturalWidth, i.alt])")
    assert images
    for natural, alternative in images:
        assert natural > 0
        assert alternative.strip()
    assert page.evaluate("document.scripts.length") == 0
    first = page.evaluate("document.querySelector('.first').getBoundingClientRect().width")
    assert width - 40 <= first <= width
    assert said == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*RUNS, *COMMANDS])
def test_axe_finds_nothing_serious(
    browser: Any, reports: Callable[[str], Path], name: str, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, _ = opened(browser, reports(name), 1280, scheme)
    found = Axe().run(page).response
    assert found["passes"]
    broken = [(v["id"], v["nodes"]) for v in found["violations"] if v["impact"] in SERIOUS]
    assert broken == [], json.dumps(broken)[:2000]
    page.close()


def test_colours_follow_the_scheme_but_pictures_stay_white(
    browser: Any, reports: Callable[[str], Path]
) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, reports("normal"), 1280, scheme)
        style = "e => getComputedStyle(e).backgroundColor"
        colours[scheme] = [page.eval_on_selector(each, style) for each in ("body", ".card")]
        page.close()
    assert colours["light"][0] != colours["dark"][0]
    assert colours["light"][1] == colours["dark"][1] == "rgb(255, 255, 255)"


def test_a_report_prints(browser: Any, reports: Callable[[str], Path]) -> None:
    """On paper nothing is cut off, and the colours are those of paper also in the dark."""
    page, _ = opened(browser, reports("normal"), 1280, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.eval_on_selector("body", "e => getComputedStyle(e).color") == "rgb(27, 31, 36)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.set_viewport_size({"width": 720, "height": 1000})
    wider = "cards => cards.filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert page.eval_on_selector_all(".card", wider) == 0
    page.close()
