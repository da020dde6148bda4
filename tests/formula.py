"""A space, latencies from a formula, and the driver that searches one by the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers import SCENARIO
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.precision import get_precision
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import StudyRecord
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.measure import Outcome, Request
from phonelm_search.search import Goals, SearchDriver, TrialReport, choose_objectives
from phonelm_search.space import FeasibleSet, SearchSpace, enumerate_space
from phonelm_search.store import Store

SPACE = SearchSpace.model_validate(
    {
        "name": "s",
        "vocab_size": 512,
        "hidden_size": {"min": 64, "max": 640, "step": 32},
        "num_hidden_layers": {"min": 1, "max": 24},
        "head_dim": [32],
        "kv_groups": [1, 2, 4],
        "ffn_ratio": {"min": 1.0, "max": 5.0, "step": 0.25},
        "multiple_of": 16,
        "hidden_act": ["relu", "silu"],
    }
)
INT4 = get_precision("int4-b32")
FEASIBLE = enumerate_space(SPACE, INT4)


def summary(ms: float, verdict: Any = "valid") -> LatencySummary:
    return LatencySummary(
        latency_ms=ms, ci_low_ms=ms, ci_high_ms=ms, p90_ms=ms, p99_ms=ms, rounds=3,
        bandwidth_bytes_per_s=None, verdict=verdict, reasons=(Reason(kind="why", what="why"),),
    )  # fmt: skip


class PerShape(ABC):
    """A latency source that answers shape by shape."""

    @abstractmethod
    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        """Latency of each workload of one shape."""

    def measure(
        self, requests: Sequence[Request], *, on_round: Callable[[ModelShape], None]
    ) -> list[Outcome]:
        outcomes = []
        for request in requests:
            try:
                found = self.latencies(request.shape, request.workloads)
                outcomes.append(Outcome(latencies=found, error=None))
            except MeasurementError as error:
                outcomes.append(Outcome(latencies={}, error=error))
            on_round(request.shape)
        return outcomes


class Formula(PerShape):
    """Latency as a function of the shape; counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[ModelShape] = []

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        self.asked.append(shape)
        prefill = shape.prefill_flops(64) / 1e8 + 0.4 * shape.num_hidden_layers
        decode = shape.weight_bytes(INT4).streamed / 1e7 + 0.05 * shape.num_hidden_layers
        return dict(zip(workloads, (summary(prefill), summary(decode)), strict=True))


def goals(*objectives: str, feasible: FeasibleSet = FEASIBLE) -> Goals:
    return Goals(
        objectives=choose_objectives(list(objectives), feasible),
        scenario=SCENARIO,
        precisions=(INT4,),
    )


def driver(
    folder: Path,
    source: Any,
    *,
    sampler: str = "tpe",
    seed: int = 0,
    wanted: Goals | None = None,
    store: Store | None = None,
    study: str = "st",
) -> SearchDriver:
    store = store or Store(folder)
    store.save_study(StudyRecord(name=study, config={}, environment_id="e"))
    return SearchDriver(
        store, study, FEASIBLE, source, wanted or goals(), sampler=sampler, seed=seed
    )


def ignore(_: TrialReport) -> None:
    return None
