"""One sentence on which treatment to take, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERABLE = 0.1
"""A relative bias that more steps do not mend, and that is still put up with."""
ALIKE = 1.5
"""Timings so close to each other are taken to be level."""


def recommendation(rows: Sequence[dict[str, Any]], own: str) -> str:
    """Return which treatment has the least error for its cost, among those of little bias.

    Args:
        rows: of the lab.
        own: the treatment that the spec names.
    """
    part, candidates = _deciding(rows)
    if not candidates:
        return "There is nothing to choose: no gradient was measured."
    near = [r for r in candidates if r["total_bias"] <= TOLERABLE]
    if not near:
        best = min(candidates, key=lambda r: float(r["total_bias"]))
        return (
            f"Take {best['treatment']} with care: of the treatments measured its gradient of the "
            f"{part} is the least biased for log p(y | x), and still {best['total_bias']:.0%} off."
        )
    least = min(float(r["error_times_seconds"]) for r in near)
    level = [r for r in near if r["error_times_seconds"] <= ALIKE * least]
    best = next((r for r in level if r["treatment"] == own), level[0])
    verb = "Keep" if best["treatment"] == own else "Take"
    least_error = (
        f"has the least squared error times seconds, on this machine, of the {len(near)} treatments"
    )
    said = (
        f"{verb} {best['treatment']}: at the fitted parameters its gradient of the {part} "
        f"{least_error if len(near) > 1 else 'is the only one measured'} whose bias for "
        f"log p(y | x) is at most {TOLERABLE:.0%}"
    )
    others = [r["treatment"] for r in level if r is not best]
    if others:
        said += f" (level with it: {', '.join(others)})"
    mine = next((r for r in candidates if r["treatment"] == own), best)
    if mine is not best:
        ratio = mine["error_times_seconds"] / best["error_times_seconds"]
        said += f"; {own}, which the spec names, has {ratio:.3g} times as much, {_bias(mine)}"
    thrifty = min(near, key=lambda r: float(r["error_times_cost"]))
    if thrifty["error_times_cost"] * ALIKE < best["error_times_cost"]:
        said += (
            f"; counted in experts run it would be {thrifty['treatment']}, "
            f"{thrifty['evaluations']} a datum against {best['evaluations']}"
        )
    return f"{said}."


def _bias(row: dict[str, Any]) -> str:
    bias = float(row["total_bias"])
    return "without bias" if bias == 0 else f"at a bias of {max(bias, 0.01):.0%}"


def _deciding(rows: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return the part of the parameters that decides, the gate if it learns, and its rows."""
    for part in ("gate", "experts"):
        found = [
            r
            for r in rows
            if r["at"] == "fitted" and r["parameters"] == part and r["error_times_cost"] is not None
        ]
        if found:
            return part, found
    return "gate", []
