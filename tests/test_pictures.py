"""Pictures: what is drawn is what was given, whatever it is called and however much there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from pyromoe.inference import fit, pictures as draw, predict
from pyromoe.inference.pictures.colours import LEADING, OKABE_ITO
from pyromoe.inference.pictures.frame import SMALL, WIDTH
from pyromoe.inference.posterior.posterior import to_datatree
from pyromoe.models.specs.spec_file import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pyromoe.inference.fitting.result import Fit

    FloatArray = NDArray[np.float64]

ODD = [r"$\frac{a$", "_under_<b>&", "100% of $x_1$ " * 20, "两列"]
PER_PIXEL = 72 / 96
"""Points, in a picture of 600 pixels."""


def axes_of(height: float = 3.6) -> Axes:
    axes: Axes = draw.new_figure(height).subplots()
    return axes


def svg_of(axes: Axes) -> str:
    figure: Any = axes.get_figure(root=True)
    return draw.to_svg(figure).decode()


def some(n: int, k: int, seed: int = 0) -> FloatArray:
    """Responsibilities, (N, K), most of them certain."""
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.2), n)


def curves(k: int, predictor: str = "x", response: str = "y") -> draw.Curves:
    x = np.linspace(-1, 1, 50)
    means = np.outer(np.linspace(-1, 1, k), x)
    gate = np.exp(3 * np.outer(np.arange(k) / k, x))
    gate /= gate.sum(0)
    wide = (means - 1, means + 1, means - 0.1, means + 0.1)
    return draw.Curves(predictor, response, x, means, gate, *wide)


def levels(k: int, names: list[str]) -> draw.Curves:
    means = np.random.default_rng(k).normal(size=(k, len(names)))
    gate = np.full((k, len(names)), 1 / k)
    return draw.Curves("level", "y", np.array(names), means, gate, means - 1, means + 1)


def history(restarts: int) -> list[dict[str, Any]]:
    return [
        {
            "restart": r,
            "epoch": step,
            "step": 10 * step,
            "loss": (r + 1) / (step + 1),
            "log_likelihood": -(r + 1) / (step + 1) if step % 2 else None,
            "learning_rate": 0.1,
            "temperature": 1 - step / 40,
            "seconds": 0.1 * step,
        }
        for r in range(restarts)
        for step in range(21)
    ]


def comparison(treatments: int) -> list[dict[str, Any]]:
    return [
        {
            "treatment": f"_t${t}",
            "objective": ("marginal", "jensen", "elbo", "iwae")[t % 4],
            "seed": seed,
            "test_log_likelihood": -1.0 - t / 7 - seed / 50,
            "evaluations": 2 + t,
            "steps": 100,
            "seconds": 1.0 + t + seed,
        }
        for t in range(treatments)
        for seed in range(3)
    ]


def every_picture(k: int) -> dict[str, Callable[[Axes], Axes]]:
    """What can be drawn of K experts, by name."""
    r, rng = some(120, k), np.random.default_rng(1)
    x, y = rng.normal(size=(120, 3)), rng.normal(size=120)
    c, each, along = curves(k), levels(k, ODD), np.linspace(0, 1, 20)
    gate = some(400, k).T.reshape(k, 20, 20)
    p = some(120, max(k, 2))
    names = [f"{ODD[i % 4]} {i}" for i in range(k)]
    return {
        "assignments": lambda a: draw.plot_assignments(a, r),
        "entropy": lambda a: draw.plot_entropy(a, r),
        "partition": lambda a: draw.plot_partition(a, x, r),
        "curves": lambda a: draw.plot_curves(a, c, x[:, 0], y, r),
        "levels": lambda a: draw.plot_curves(a, each, np.array(ODD * 30), y, r),
        "gate": lambda a: draw.plot_gate(a, ODD[0], c.values, c.gate),
        "gate of levels": lambda a: draw.plot_gate(a, ODD[1], each.values, each.gate),
        "gate map": lambda a: draw.plot_gate_map(a, (ODD[2], ODD[3]), (along, along), gate),
        "co-assignment": lambda a: draw.plot_coassignment(a, draw.coassignment([r])),
        "agreement": lambda a: draw.plot_agreement(a, np.eye(k), names),
        "reliability": lambda a: draw.plot_reliability(a, p, p.argmax(1)),
        "pit": lambda a: draw.plot_pit(a, rng.random(120)),
        "history": lambda a: draw.plot_history(a, history(k), "loss"),
        "comparison": lambda a: draw.plot_comparison(a, comparison(min(k, 37))),
        "modes": lambda a: draw.plot_modes(a, [{"log_likelihood": -1.0, "hits": k}]),
    }


def texts(figure: Figure) -> list[Any]:
    """What is written in a figure once it has been laid out, but for numbers at ticks."""
    figure.draw_without_rendering()
    found: list[Any] = figure.findobj(Text)
    shown = [t for t in found if t.get_text() and t.get_visible()]
    return [t for t in shown if not re.fullmatch(r"\W?[\d.]+", t.get_text())]


# Every picture


@pytest.mark.parametrize("k", [1, 2, 64])
@pytest.mark.parametrize("name", every_picture(1))
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_a_picture_can_be_drawn_read_and_repeated(name: str, k: int) -> None:
    axes = axes_of()
    assert every_picture(k)[name](axes) is axes
    svg = svg_of(axes)
    again = axes_of()
    every_picture(k)[name](again)
    assert svg_of(again) == svg
    assert len(svg) < 500_000
    assert not re.search(r"<script|<!DOCTYPE|<metadata|<dc:date|<a ", svg)
    links = re.findall(r'(?:href|src)="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    ElementTree.fromstring(svg)
    figure: Any = axes.get_figure(root=True)
    assert figure.get_figwidth() == WIDTH
    shown = texts(figure)
    assert min(t.get_fontsize() for t in shown) >= SMALL > 9 * PER_PIXEL
    assert not [t for t in shown if "$" in t.get_text() and t.get_parse_math()]


@pytest.mark.parametrize("k", [1, 2, 64])
@pytest.mark.parametrize("name", every_picture(1))
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_no_name_is_cut_off_by_the_edge(name: str, k: int) -> None:
    axes = axes_of()
    every_picture(k)[name](axes)
    figure: Any = axes.get_figure(root=True)
    for text in texts(figure):
        box = text.get_window_extent()
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < figure.bbox.x1 + 1, text
        assert box.y1 < figure.bbox.y1 + 1, text


def test_a_name_with_an_underscore_in_front_is_in_the_legend() -> None:
    axes = axes_of()
    (line,) = axes.plot([0, 1])
    legend = draw.add_legend(axes, [line], ["_$x$"])
    assert [t.get_text() for t in legend.get_texts()] == ["_$x$"]
    assert "_$x$" in svg_of(axes)


def test_a_title_is_escaped() -> None:
    svg = draw.to_svg(draw.new_figure(), "<script>alert(1)</script>").decode()
    assert "<title>&lt;script&gt;" in svg
    assert "<script" not in svg


def test_a_png_has_the_width_that_was_asked_for_and_repeats() -> None:
    images = [draw.to_png(draw.new_figure(), 600) for _ in range(2)]
    assert images[0] == images[1]
    assert int.from_bytes(images[0][16:20]) == 600


def test_many_rows_make_a_small_file() -> None:
    r = some(20_000, 8)
    x = np.random.default_rng(0).normal(size=(20_000, 4))
    map_of, scatter = axes_of(), axes_of()
    draw.plot_assignments(map_of, r)
    draw.plot_partition(scatter, x, r)
    assert len(svg_of(map_of)) < 50_000
    assert len(svg_of(scatter)) < 700_000


# Colours


def linear(colour: str) -> FloatArray:
    """Red, green and blue as amounts of light."""
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira and Fernandes (2009), of amounts of light: full deuteranopia and protanopia.
SEEN = {
    "all": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(light: FloatArray) -> FloatArray:
    """CIE L*a*b*, in which a distance of 2 can just be seen."""
    xyz = TO_XYZ @ light.clip(0, 1) / TO_XYZ.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", SEEN)
def test_experts_can_be_told_apart_by_every_eye(eye: str) -> None:
    for colours in (draw.palette(8), draw.palette(64)[: LEADING - 1]):
        points = [lab(SEEN[eye] @ linear(c)) for c in colours]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i]]
        assert min(apart) > 8


@pytest.mark.parametrize("number", [1, 8, 9, 64])
def test_each_expert_has_a_colour_of_its_own(number: int) -> None:
    colours = draw.palette(number)
    assert len(set(colours)) == number
    light = [lab(linear(colour))[0] for colour in colours]
    if number > len(OKABE_ITO):
        order = np.argsort(light)
        assert np.all(np.diff(np.array(light)[order]) > 0)
        assert max(light) < 90  # to be seen on white


def test_the_largest_experts_have_the_most_distant_colours() -> None:
    shares = np.arange(64.0)
    by_number, by_share = draw.palette(64), draw.palette(64, shares)
    assert by_share[::-1] == by_number


def test_a_legend_names_the_leading_of_many_experts() -> None:
    shares = np.arange(64.0) / 2016
    legend = draw.expert_legend(axes_of(), draw.palette(64), shares)
    names = [t.get_text() for t in legend.get_texts()]
    assert names[0] == "expert 63, 3%"
    assert len(names) == LEADING
    assert names[-1] == "and 57 others"


# What is drawn is what was given


def test_the_map_has_the_responsibilities() -> None:
    r = np.array([[0.1, 0.9], [1.0, 0.0], [0.8, 0.2], [0.0, 1.0], [0.0, 1.0]])
    axes: Any = draw.plot_assignments(axes_of(), r, ["#000000", "#ff0000"])
    image = axes.images[0].get_array()
    assert image is not None
    assert [t.get_text() for t in axes.get_yticklabels()] == ["expert 1, 62%", "expert 0, 38%"]
    np.testing.assert_allclose(1 - image[0, :, 1], [1, 1, 0.9, 0, 0.2], atol=1e-12)
    np.testing.assert_allclose(1 - image[1, :, 1], [0, 0, 0.1, 1, 0.8], atol=1e-12)


def test_the_map_of_many_rows_keeps_their_mean() -> None:
    r = some(12_345, 3)
    image = draw.plot_assignments(axes_of(), r, ["#000000"] * 3).images[0].get_array()
    assert image is not None
    assert image.shape == (3, 500, 3)
    edges = np.linspace(0, 12_345, 501).astype(int)
    means = (1 - image[..., 0]) @ np.diff(edges) / 12_345
    np.testing.assert_allclose(means, np.sort(r.mean(0))[::-1])


def test_entropies_are_counted() -> None:
    r = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    axes: Any = draw.plot_entropy(axes_of(), r)
    counts, edges, _ = axes.patches[0].get_data()
    assert counts.sum() == 4
    assert (counts[0], counts[-1]) == (3, 1)
    assert edges[-1] == pytest.approx(np.log(2))
    share = np.array([0.625, 0.375])
    used = np.exp(-(share * np.log(share)).sum())
    assert f"{used:.2f} of 2 experts" in axes.get_title()


def test_the_projection_has_distances_and_colours_of_the_rows() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2)) * [1, 100]
    x[3, 0] = np.nan
    r = some(30, 3)
    axes: Any = draw.plot_partition(axes_of(), x, r)
    points = np.asarray(axes.collections[0].get_offsets())
    kept = np.delete(x, 3, 0)
    scaled = (kept - kept.mean(0)) / kept.std(0)
    np.testing.assert_allclose(distances(points), distances(scaled))
    colours = np.asarray(axes.collections[0].get_facecolor())
    own = np.delete(r, 3, 0)
    expected = [to_rgb(OKABE_ITO[k]) for k in own.argmax(1)]
    np.testing.assert_allclose(colours[:, :3], expected)
    assert np.all(np.diff(colours[np.argsort(own.max(1)), 3]) >= 0)
    with pytest.raises(ValueError, match="two columns"):
        draw.plot_partition(axes_of(), x[:, :1], r)


def distances(x: FloatArray) -> FloatArray:
    apart: FloatArray = np.linalg.norm(x[:, None] - x, axis=-1)
    return apart


def test_curves_have_their_means_and_rows_their_places() -> None:
    c, rng = curves(3), np.random.default_rng(0)
    x, y, r = rng.uniform(-1, 1, 40), rng.normal(size=40), some(40, 3)
    axes: Any = draw.plot_curves(axes_of(), c, x, y, r)
    rows, *others = axes.collections
    np.testing.assert_allclose(np.asarray(rows.get_offsets()), np.stack([x, y], 1))
    mixed = r @ np.array([to_rgb(colour) for colour in OKABE_ITO[:3]])
    np.testing.assert_allclose(np.asarray(rows.get_facecolor())[:, :3], mixed)
    lines = [one for one in others if hasattr(one, "get_segments")]
    for k, line in enumerate(lines):
        points = np.unique(np.concatenate(line.get_segments()), axis=0)
        np.testing.assert_allclose(points, np.stack([c.values, c.means[k]], 1))
    # Where the gate prefers the last expert, its line is the most opaque.
    ends = [np.asarray(line.get_alpha())[-1] for line in lines]
    assert ends == sorted(ends)
    low, high = axes.get_ylim()
    assert low < y.min()
    assert high > y.max()


def test_bands_end_where_they_were_said_to() -> None:
    c = curves(1)
    axes: Any = draw.plot_curves(axes_of(), c)
    outer, inner, _ = axes.collections
    for band, low, high in ((outer, c.low, c.high), (inner, c.mean_low, c.mean_high)):
        assert low is not None
        assert high is not None
        y = band.get_paths()[0].vertices[:, 1]
        assert (y.min(), y.max()) == (low.min(), high.max())


def test_levels_stand_beside_each_other_by_name() -> None:
    c = levels(2, ["a", "_b$", "c"])
    axes: Any = draw.plot_curves(axes_of(), c)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "_b$", "c"]
    marks = [np.asarray(axes.collections[i].get_offsets())[:, 1] for i in (0, 2)]
    np.testing.assert_allclose(marks, c.means)


def test_the_gate_is_stacked_to_one() -> None:
    c = curves(4)
    axes: Any = draw.plot_gate(axes_of(), "x", c.values, c.gate)
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
    np.testing.assert_allclose(tops, c.gate.cumsum(0).max(1))
    assert axes.get_ylim() == (0, 1)


def test_the_map_of_the_gate_shows_who_leads_and_how_clearly() -> None:
    gate = np.array([[[0.5, 0.9], [0.0, 1.0]], [[0.5, 0.1], [1.0, 0.0]]])  # (K, H, G)
    values = (np.array([0.0, 1.0]), np.array([5.0, 6.0]))
    axes: Any = draw.plot_gate_map(axes_of(), ("a", "b"), values, gate)
    image = axes.images[0].get_array()
    assert image is not None
    np.testing.assert_allclose(image[1], [to_rgb(OKABE_ITO[1]), to_rgb(OKABE_ITO[0])])
    assert np.all(image[0, 0] > image[0, 1] - 1e-12)
    assert axes.images[0].get_extent() == [0, 1, 5, 6]


def test_rows_that_share_an_expert_stand_together() -> None:
    group = np.array([0, 1, 0, 1, 0, 2])
    together = draw.coassignment([np.eye(3)[group], np.eye(4)[group + 1]])
    np.testing.assert_array_equal(together, group[:, None] == group)
    axes: Any = draw.plot_coassignment(axes_of(), together, of=60)
    image = np.asarray(axes.images[0].get_array())
    order = draw.cluster_order(together)
    np.testing.assert_array_equal(image, together[order][:, order])
    assert (np.diff(group[order]) != 0).sum() == 2
    assert axes.get_xlabel() == "6 of 60 rows, by cluster"


def test_agreement_does_not_depend_on_numbers() -> None:
    z = np.array([0, 0, 1, 1, 2, 2])
    other = np.array([0, 1, 0, 1, 0, 1])
    index = draw.agreement([z, 2 - z, other])
    assert index[0, 1] == 1
    assert index[0, 2] < 0.1
    np.testing.assert_array_equal(index, index.T)
    axes: Any = draw.plot_agreement(axes_of(), index, ["a", "b", "c"])
    np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), index)
    assert [t.get_text() for t in axes.texts[:2]] == ["1.00", "1.00"]


def test_reliability_is_how_often_it_came() -> None:
    p = np.repeat([0.05, 0.95], 20)
    codes = np.concatenate([np.arange(20) < 5, np.arange(20) < 18]).astype(int)
    codes = np.append(codes, -1)  # missing
    axes: Any = draw.plot_reliability(axes_of(), np.stack([1 - p, p], 1)[[*range(40), 0]], codes)
    marks = [line.get_xydata() for line in axes.lines[1:]]
    np.testing.assert_allclose(np.concatenate(marks), [[0.05, 0.25], [0.95, 0.9]])
    (bar,) = axes.collections[0].get_segments()
    np.testing.assert_allclose(bar[:, 1], [0.08657, 0.49105], atol=1e-5)  # Clopper and Pearson


def test_reliability_of_more_classes_is_of_the_most_probable() -> None:
    p = np.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    axes: Any = draw.plot_reliability(axes_of(), p, np.array([1, 0]))
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.7, 0.5]])
    assert "most probable" in axes.get_xlabel()


def test_the_histogram_of_the_pit_has_a_band() -> None:
    axes: Any = draw.plot_pit(axes_of(), (np.arange(400) + 0.5) / 400)
    band, steps = axes.patches
    counts, edges, _ = steps.get_data()
    np.testing.assert_allclose(counts, np.ones(20))
    assert len(edges) == 21
    low, high = band.get_y(), band.get_y() + band.get_height()
    assert low < 1 < high
    inside = np.random.default_rng(0).binomial(400, 1 / 20, 10_000) / 20
    assert np.mean((inside >= low) & (inside <= high)) == pytest.approx(0.96, abs=0.015)


def test_the_best_restart_stands_out() -> None:
    rows = history(3)
    axes: Any = draw.plot_history(axes_of(), rows, "log_likelihood")
    own = [(r["step"], r["log_likelihood"]) for r in rows if r["restart"] == 0]
    known = [pair for pair in own if pair[1] is not None]
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), known)
    assert axes.lines[-1].get_color() == OKABE_ITO[0]
    figure = draw.history_figure(rows)
    assert [a.get_ylabel() for a in figure.axes][-1] == "temperature"
    assert len(figure.axes) == 3


def test_a_comparison_has_every_seed_and_their_mean() -> None:
    rows = [*comparison(3), {"treatment": "broken", "seed": 0, "failure": "the loss is nan"}]
    axes: Any = draw.plot_comparison(axes_of(), rows, "evaluations")
    seeds, means = axes.lines[::2], axes.lines[1::2]
    for t, (each, mean) in enumerate(zip(seeds, means, strict=True)):
        own = rows[3 * t : 3 * t + 3]
        np.testing.assert_allclose(each.get_ydata(), [r["test_log_likelihood"] for r in own])
        np.testing.assert_allclose(each.get_xdata(), [100 * (2 + t)] * 3)
        expected = np.mean([r["test_log_likelihood"] for r in own])
        np.testing.assert_allclose(mean.get_ydata(), [expected])
    assert [t.get_text() for t in axes.texts] == ["1", "2", "3"]
    key = [t.get_text() for t in draw.comparison_figure(rows).axes[1].texts]
    assert key[:3] == ["1 _t$0", "2 _t$1", "3 _t$2"]


def test_one_that_failed_altogether_does_not_hide_the_others() -> None:
    rows = comparison(8)
    for row in rows[-3:]:
        row["test_log_likelihood"] = -1e6
    axes: Any = draw.plot_comparison(axes_of(), rows)
    assert axes.get_ylim()[0] > -10
    assert [line.get_marker() for line in axes.lines].count("v") == 1
    noted = [text.get_text() for text in draw.comparison_figure(rows).axes[1].texts]
    assert noted[-2:] == ["triangle: below the edge, at", "    8: -1e+06"]


def test_modes_stand_at_their_likelihood() -> None:
    modes: list[dict[str, Any]] = [
        {"log_likelihood": -5.0, "hits": 3},
        {"log_likelihood": -7.0, "hits": 1},
        {"log_likelihood": 9.0, "hits": 2, "spikes": [0]},
    ]
    axes: Any = draw.plot_modes(axes_of(), modes)
    regular, degenerate = axes.lines
    np.testing.assert_allclose(regular.get_xydata(), [[-5, 3], [-7, 1]])
    np.testing.assert_allclose(degenerate.get_xydata(), [[9, 2]])


# What is drawn of a fit is what predict says


SPEC = """
data:
  response: {response}
  predictors: [x, level, w]
  categorical: [level]
  split: {{test: 0}}
  {data}
likelihood: {likelihood}
experts: {{number: 2}}
{more}
fit: {{epochs: 5, restarts: 1, precision: float64}}
"""


def table(response: str, *, groups: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, w = rng.normal(5, 2, 60), rng.normal(size=60)
    level = np.array(["b", "a", "a"])[np.arange(60) % 3]
    responses: dict[str, Any] = {
        "number": x + rng.normal(size=60),
        "count": rng.poisson(3, 60),
        "class": np.array(["no", "yes", "$"])[rng.integers(0, 3, 60)],
    }
    y = responses[response]
    own: dict[str, Any] = {"g": np.arange(60) // 3} if groups else {}
    own |= {"w2": rng.normal(size=60), "n": rng.poisson(2, 60)}
    return {"x": x, "level": level.tolist(), "w": w, "y": y.tolist(), **own}


def fitted(
    family: str, response: str, more: str = "", *, groups: bool = False, of: str = "y"
) -> Fit:
    data = "group: g" if groups else ""
    likelihood = f"{{family: {family}}}" if of == "y" else family
    spec = parse_spec(SPEC.format(response=of, likelihood=likelihood, more=more, data=data), "spec")
    return fit(spec, table(response, groups=groups))


def at(fit: Fit, name: str, values: list[Any], groups: bool = False) -> dict[str, Any]:
    """Rows at which one predictor has some values and the others their medians."""
    known = table("number", groups=groups)
    held = {"x": np.sort(known["x"])[29], "level": "a", "w": np.sort(known["w"])[29]}
    own = {"g": np.arange(len(values)) + 100} if groups else {}
    return {n: [v] * len(values) for n, v in held.items()} | {name: values} | own


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("name", ["x", "level"])
def test_curves_are_those_of_predict(name: str, groups: bool) -> None:
    found = fitted("normal", "number", groups=groups)
    x = draw.rows_of(found, to_datatree(found)).x
    c = draw.curves_of(found, name, x, points=7)
    assert c.response == "y"
    assert len(c.values) == (7 if name == "x" else 2)
    told = predict(found, at(found, name, c.values.tolist(), groups), per_expert=True)
    for k in range(2):
        np.testing.assert_allclose(c.means[k], told[f"mean_{k}"])
        np.testing.assert_allclose(c.gate[k], told[f"gate_{k}"])
    assert c.mean_low is None
    # The predictive interval of a normal expert.
    scale = found.model.likelihood.constants([found.encoding.target.sd])["scale"].detach().numpy()
    assert c.low is not None
    np.testing.assert_allclose((c.means - c.low) / scale[:, None], 1.6448536, rtol=1e-6)


def test_curves_of_a_class_are_its_probability() -> None:
    found = fitted("categorical", "class")
    x = draw.rows_of(found, to_datatree(found)).x
    c = draw.curves_of(found, "w", x, label="$", points=5)
    assert c.response == "p($)"
    assert c.low is None
    told = predict(found, at(found, "w", c.values.tolist()), per_expert=True)
    np.testing.assert_allclose(c.means[1], told["p($)_1"])
    with pytest.raises(ValueError, match="no class"):
        draw.curves_of(found, "w", x, label="maybe")
    with pytest.raises(ValueError, match="no predictor"):
        draw.curves_of(found, "v", x)


def test_draws_of_the_weights_give_the_means_an_interval() -> None:
    more = "guide: {weights: mean_field}\noutput: {draws: 20}"
    found = fitted("normal", "number", more)
    x = draw.rows_of(found, to_datatree(found)).x
    c = draw.curves_of(found, "x", x, points=4)
    told = predict(found, at(found, "x", c.values.tolist()), per_expert=True)
    np.testing.assert_allclose(c.means[0], told["mean_0"])
    assert c.mean_low is not None
    assert c.mean_high is not None
    assert np.all(c.mean_low < c.mean_high)
    assert c.low is not None
    assert np.all(c.low < c.mean_low)


def test_the_map_of_the_gate_is_that_of_predict() -> None:
    found = fitted("normal", "number")
    x = draw.rows_of(found, to_datatree(found)).x
    (first, second), gate = draw.gate_map_of(found, ("w", "x"), x, points=3)
    rows = at(found, "w", [first[2]]) | {"x": [second[0]]}
    assert gate.shape == (2, 3, 3)
    np.testing.assert_allclose(gate[1, 0, 2], predict(found, rows)["gate_1"][0].as_py())
    with pytest.raises(ValueError, match="not a number"):
        draw.gate_map_of(found, ("w", "level"), x)


@pytest.mark.parametrize("groups", [False, True])
def test_rows_are_those_of_the_table(groups: bool) -> None:
    found = fitted("normal", "number", groups=groups)
    shown, known = draw.rows_of(found, to_datatree(found)), table("number", groups=groups)
    assert draw.values_of(found, "x", shown.x).tolist() == pytest.approx(known["x"])
    assert draw.values_of(found, "level", shown.x).tolist() == known["level"]
    np.testing.assert_allclose(shown.y[:, 0], known["y"])
    told = predict(found, known)
    np.testing.assert_allclose(shown.responsibilities[:, 1], told["responsibility_1"])


@pytest.mark.parametrize(("family", "response"), [("normal", "number"), ("poisson", "count")])
def test_transforms_are_distribution_functions(family: str, response: str) -> None:
    found = fitted(family, response)
    shown = draw.rows_of(found, to_datatree(found))
    y = shown.y[:, 0].copy()
    y[4] = np.nan
    u = draw.transforms_of(found, shown.x, y, np.random.default_rng(0))
    assert len(u) == 59
    # y is the quantile at u of a number, and the smallest count that reaches it.
    for i in (0, 1, 2):
        one = {name: values[i : i + 1] for name, values in table(response).items()}
        told = predict(found, one, quantiles=[float(u[i])])
        assert told[f"q{float(u[i])!r}"][0].as_py() == pytest.approx(y[i], rel=1e-6)


def test_probabilities_of_classes_are_those_of_predict() -> None:
    found = fitted("categorical", "class")
    shown = draw.rows_of(found, to_datatree(found))
    told = predict(found, table("class"))
    p = draw.probabilities_of(found, shown.x)
    for c, label in enumerate(found.encoding.target.labels):
        np.testing.assert_allclose(p[:, c], told[f"p({label})"])
    assert shown.x.dtype == torch.float64


def test_each_of_several_responses_has_curves() -> None:
    found = fitted("[{family: normal}, {family: poisson}]", "number", of="[w2, n]")
    shown = draw.rows_of(found, to_datatree(found))
    assert shown.y.shape == (60, 2)
    for response, name in enumerate(("w2", "n")):
        c = draw.curves_of(found, "x", shown.x, response=response, points=2)
        ends = at(found, "x", c.values.tolist())
        told = predict(found, ends, per_expert=True)
        assert c.response == name
        np.testing.assert_allclose(c.means[1], told[f"{name}:mean_1"])
        u = draw.transforms_of(
            found, shown.x, shown.y[:, response], np.random.default_rng(0), response
        )
        assert len(u) == 60
