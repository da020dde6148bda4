"""A scenario's times against sums over every token."""

from collections.abc import Callable

import pytest

from helpers import DOUBT, measurement
from phonelm_search.core.latency import Latency, ScenarioTime
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.measure import summarise


def latencies(scenario: Scenario, step_ms: Callable[[int], float]) -> dict[Workload, Latency]:
    return {
        w: summarise(
            [
                measurement(
                    [round(1e6 * (50.0 if w.phase == "prefill" else step_ms(w.past_tokens)))] * 9,
                    workload=w,
                    round=n,
                )
                for n in range(3)
            ],
            None,
        )
        for w in scenario.workloads
    }


def linear(context: int) -> float:
    return 3.0 + 0.01 * context


def cubic(context: int) -> float:
    return 3.0 + 2e-3 * context + 1e-6 * context**2 + 1e-9 * context**3


@pytest.mark.parametrize(
    ("text", "step_ms", "tolerance"),
    [("chat=256:129", linear, 2e-3), ("essay=64:2049", linear, 1e-3), ("x=64:2049", cubic, 2e-3)],
)
def test_quadrature_agrees_with_the_sum_over_all_tokens(
    text: str, step_ms: Callable[[int], float], tolerance: float
) -> None:
    scenario = Scenario.parse(text)
    time = ScenarioTime.of(scenario, latencies(scenario, step_ms))
    assert time
    # The first token comes from the prefill; each step finds one past token more.
    steps = [step_ms(scenario.prompt_tokens + i) for i in range(scenario.generated_tokens - 1)]
    assert time.ttft.ms == pytest.approx(50.0)
    assert time.tpot.ms == pytest.approx(sum(steps) / len(steps), rel=tolerance)
    assert time.end_to_end.ms == pytest.approx(50.0 + sum(steps), rel=tolerance)


def test_intervals_of_independent_parts_add_in_squares() -> None:
    scenario = Scenario.parse("essay=64:2049")
    found = dict(latencies(scenario, linear))
    for w, f in found.items():
        found[w] = type(f)(**{
            **{n: getattr(f, n) for n in f.__dataclass_fields__},
            "ci_low_ms": f.latency_ms - 1.0,
            "ci_high_ms": f.latency_ms + 2.0,
        })  # fmt: skip
    time = ScenarioTime.of(scenario, found)
    assert time
    assert time.tpot.ms - time.tpot.low_ms == pytest.approx(2**0.5 / 2)
    assert time.tpot.high_ms - time.tpot.ms == pytest.approx(2 * 2**0.5 / 2)
    width = time.end_to_end.ms - time.end_to_end.low_ms
    assert width == pytest.approx((1 + (2048 * 2**0.5 / 2) ** 2) ** 0.5)


def test_a_missing_latency_makes_no_time_and_the_worst_verdict_counts() -> None:
    scenario = Scenario.parse("essay=64:2049")
    found = latencies(scenario, linear)
    assert ScenarioTime.of(scenario, dict(list(found.items())[:2])) is None
    last = scenario.workloads[-1]
    doubted = measurement([10**6] * 9, workload=last, verdict="suspect", reasons=(DOUBT,))
    found[last] = summarise([doubted], None)
    time = ScenarioTime.of(scenario, found)
    assert time
    assert (time.verdict, time.reasons) == ("suspect", (DOUBT,))
