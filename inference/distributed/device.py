"""Where a fit is computed: on the CPU, or on a GPU of this process's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from pyromoe.models.errors import InputError

if TYPE_CHECKING:
    from pyromoe.models import Spec

CPU = torch.device("cpu")


def device_of(spec: Spec) -> torch.device:
    """Return the device that a spec asks for; the processes of a machine have a GPU each.

    Raises:
        InputError: where there is no GPU that torch can use.
    """
    if spec.fit.device == "cpu":
        return CPU
    if not torch.cuda.is_available():
        what, remedy = "torch finds no GPU here", "set it to cpu, or install torch for your GPU"
        raise InputError(what, field="fit.device", remedy=remedy)
    return torch.device("cuda", own_gpu())


def own_gpu() -> int:
    """Return the number of the GPU that belongs to this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
