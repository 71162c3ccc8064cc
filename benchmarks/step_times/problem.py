"""The cases: data, sizes and first values that every contestant is given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
TREATMENTS = ("enumerate", "leave_one_out", "gumbel_softmax", "straight_through_gumbel_softmax")
RATE, TEMPERATURE, DRAWS = 1e-3, 0.5, 2


@dataclass(frozen=True)
class Case:
    """A mixture of K classifiers: networks D-H-C, linear where H is 0, and a gate like them."""

    name: str
    rows: int
    num_experts: int
    inputs: int
    hidden: int
    classes: int

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return x, (N, D), and y, (N,)."""
        if self.inputs == 64:
            from sklearn.datasets import load_digits

            images, labels = load_digits(return_X_y=True)
            return (images[: self.rows] / 16).astype(np.float32), labels[: self.rows]
        draw = np.random.default_rng(0)
        x = draw.normal(size=(self.rows, self.inputs)).astype(np.float32)
        return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)

    def values(self) -> Arrays:
        """Return first values: of the experts (K, in, out) and (K, 1, out), of the gate K = 1."""
        draw = np.random.default_rng(1)
        hidden = [self.hidden] if self.hidden else []
        values = {}
        for who, number, last in (
            ("experts", self.num_experts, self.classes),
            ("gate", 1, self.num_experts),
        ):
            sizes = [self.inputs, *hidden, last]
            for i in range(len(sizes) - 1):
                weight = draw.normal(size=(number, sizes[i], sizes[i + 1])) / math.sqrt(sizes[i])
                values[f"{who}.weight_{i}"] = weight.astype(np.float32)
                values[f"{who}.bias_{i}"] = np.zeros((number, 1, sizes[i + 1]), np.float32)
        return values


CASES = (
    Case("N = 133, K = 4, linear", 133, 4, 2, 0, 3),
    Case("digits, K = 4", 256, 4, 64, 32, 10),
    Case("digits, K = 16", 256, 16, 64, 32, 10),
    Case("digits, K = 64", 256, 64, 64, 32, 10),
)
