"""What a search optimises: each objective as a number to minimise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from phonelm_search.core.errors import ConfigurationError, UnknownNameError
from phonelm_search.core.latency import Latency, ScenarioTime
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.space import FeasibleSet

Objective = Literal["latency", "prefill", "decode", "parameters", "memory"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
_SAME_SIZE = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """The objectives of a study and what their values depend on."""

    objectives: tuple[Objective, ...]
    """In the order of a trial's values."""
    scenario: Scenario
    """Prompt and answer that latencies are of."""
    precisions: tuple[Precision, ...]
    """Schemes at which memory is counted: weights in each, the KV cache in the first."""

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """What must be measured of a shape."""
        return self.scenario.workloads

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Optuna's directions: decoder parameters are maximised, the rest minimised."""
        return ["maximize" if o == "parameters" else "minimize" for o in self.objectives]

    def values(
        self, shape: ModelShape, latencies: Mapping[Workload, Latency], *, unit_ms: float = 1.0
    ) -> list[float]:
        """A trial's values, each in its own direction.

        Latency, prefill and decode are in ``unit_ms``; memory is the bytes of weights and of the
        KV cache at the end of the scenario; parameters are decoder parameters.

        Args:
            shape: The shape.
            latencies: Of its workloads.
            unit_ms: What times are told in: a millisecond, or the reference shape's time.

        Raises:
            ValueError: If the latency of a workload is missing.
        """
        time = ScenarioTime.of(self.scenario, latencies)
        if time is None:
            raise ValueError(f"every workload of {self.scenario} must have a latency")
        context = self.scenario.prompt_tokens + self.scenario.generated_tokens
        kv_bytes = context * shape.kv_bytes_per_token(self.precisions[0].kv_bytes_per_element)
        weights = sum(shape.weight_bytes(p).total for p in self.precisions)
        found: dict[Objective, float] = {
            "latency": time.end_to_end.ms / unit_ms,
            "prefill": time.ttft.ms / unit_ms,
            "decode": time.tpot.ms / unit_ms,
            "parameters": float(shape.decoder_parameters),
            "memory": float(weights + kv_bytes),
        }
        return [found[o] for o in self.objectives]


def choose_objectives(asked: list[str], feasible: FeasibleSet) -> tuple[Objective, ...]:
    """The objectives asked for, or the default: latency, and parameters where sizes differ.

    Raises:
        UnknownNameError: If an objective does not exist.
        ConfigurationError: If one is named twice.
    """
    for name in asked:
        if name not in OBJECTIVES:
            raise UnknownNameError("objective", name, list(OBJECTIVES))
    if len(set(asked)) != len(asked):
        raise ConfigurationError(f"objectives must be distinct, got {', '.join(asked)}")
    if asked:
        return tuple(o for o in OBJECTIVES if o in asked)
    sizes = feasible.columns["decoder_parameters"]
    same = sizes.max() <= _SAME_SIZE * sizes.min()
    return ("latency",) if same else ("latency", "parameters")
