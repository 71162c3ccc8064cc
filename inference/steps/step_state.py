"""A step as a part of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyromoe.inference.files.checkpoints import Saved

if TYPE_CHECKING:
    from pyromoe.inference.steps.step import Step


def save_step(step: Step) -> Saved:
    """Return what the next step needs."""
    moments = {f"moment_{i}": moment for i, moment in enumerate(step.moments)}
    state = {f"state_{i}": leaf for i, leaf in enumerate(step.state or ())}
    noise = {f"noise_{r}": m.source.get_state() for r, m in enumerate(step.members)}
    tensors = {"values": step.values, "scale": step.scale, **moments, **state, **noise}
    return Saved(tensors, {"taken": step.taken})


def restore_step(step: Step, saved: Saved) -> None:
    """Go back to what was saved; treatments and noise follow when a step is taken.

    Raises:
        InputError: where it was saved by a step of another form.
    """
    moments = {f"moment_{i}": moment for i, moment in enumerate(step.moments)}
    for name, tensor in {"values": step.values, "scale": step.scale, **moments}.items():
        tensor.copy_(saved.like(name, tensor))
    step.taken, step.before = saved.values["taken"], saved
