"""What JSON files of directories must have, for whoever reads them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Form(BaseModel):
    """What a file must have; it may have more."""

    model_config = ConfigDict(extra="allow")


class _Totals(Form):
    train: float
    test: float | None


class _Counts(Form):
    train: int
    test: int


class _Start(Form):
    log_likelihood: float | None
    converged: bool


class _Warning(Form):
    name: str
    what: str
    remedy: str


class _Mode(Form):
    log_likelihood: float
    hits: int


class _Nested(Form):
    log_likelihood: float
    model: str


class _Nuts(Form):
    r_hat: float
    ess: float
    divergences: int


class _Kept(Form):
    n: int
    log_likelihood: float
    epoch: int | None
    stopped_at: int | None


class Metrics(Form):
    """`metrics.json` of a run."""

    log_likelihood: _Totals
    n: _Counts
    parameters: int
    aic: float
    bic: float
    icl: float
    measured_on: str
    effective_experts: float
    restarts: list[_Start]
    treatment: str
    objective: str
    steps: int
    seconds: float
    parameters_sha256: str
    versions: dict[str, str]
    warnings: list[_Warning] = []
    modes: list[_Mode] = []
    nested: list[_Nested] = []
    nuts: _Nuts | None = None
    pareto_k: float | None = None
    early_stopping: _Kept | None = None


class _Failed(Form):
    failure: str


class _Compared(Form):
    treatment: str
    objective: str
    seed: int
    unbiased: bool
    evaluations: int
    test_log_likelihood: float | None
    train_log_likelihood: float
    effective_experts: float
    steps: int
    seconds: float


class Comparison(Form):
    """`comparison.json`."""

    summary: str
    measured_on: str
    rows: list[_Failed | _Compared]


class _Measured(Form):
    treatment: str
    objective: str
    at: str
    parameters: str
    unbiased: bool
    evaluations: int
    objective_bias: float | None
    estimator_bias: float | None
    estimator_bias_low: float | None
    estimator_bias_high: float | None
    estimator_bias_mc_floor: float | None
    total_bias: float | None
    relative_std: float | None
    error_times_cost: float | None
    seconds_per_call: float
    draws: int


class Lab(Form):
    """`gradients.json`."""

    recommendation: str
    skipped: dict[str, str]
    rows: list[_Measured]


class _Candidate(Form):
    candidate: str
    experts: int
    parameters: int
    aic: float
    bic: float
    icl: float
    held_out_log_likelihood: float | None
    train_log_likelihood: float


class Selected(Form):
    """`selection.json`."""

    recommendation: str
    rows: list[_Failed | _Candidate]
