"""Settings of what is fitted beside each other, and of what is written, with every default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pyromoe.models.specs.settings import Distinct, Location, Names, Section


class Compare(Section):
    """What `pyromoe compare` sets side by side."""

    treatments: Names = Field(
        default=[
            "enumerate",
            "jensen",
            "leave_one_out",
            "gumbel_softmax",
            "straight_through_gumbel_softmax",
        ],
        min_length=1,
        description="Names of treatments, or [all].",
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Distinct] = Field(
        default=[0], min_length=1, description="Every treatment is fitted once with each seed."
    )


class Select(Section):
    """Among which numbers of experts `pyromoe select` chooses, and how."""

    experts: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Distinct] = Field(
        default=[1, 2, 3, 4],
        min_length=1,
        description="Numbers of experts; 1 and a plain network are always there beside them.",
    )
    folds: Annotated[
        int, Field(ge=2, le=1000, description="Parts, each of which is held out once.")
    ] = 5
    bootstrap: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="Samples of the bootstrap likelihood ratio test of each number of experts "
            "against the one before; 0 for no test.",
        ),
    ] = 0


class Output(Section):
    """What is written, and where."""

    directory: Annotated[
        Location | None, Field(description="Folder of the run; left out: one under runs/.")
    ] = None
    draws: Annotated[int, Field(ge=1, le=100_000, description="Draws of z in posterior.nc.")] = 500
    tensorboard: Annotated[bool, Field(description="Curves for TensorBoard as well.")] = False
