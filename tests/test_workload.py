"""Workloads and scenarios."""

import pytest

from phonelm_search.errors import ConfigurationError
from phonelm_search.workload import Scenario, Workload, decode, prefill


def test_names_are_llama_benchs() -> None:
    assert (prefill(512).name, decode(512).name) == ("pp512", "tg @ d512")


def test_midpoint_rule_is_exact_for_a_decode_curve_that_is_linear_in_context() -> None:
    scenario = Scenario.parse("chat=256:129")

    def step_ms(context: int) -> float:
        return 3.0 + 0.01 * context

    # The first token comes from the prefill; steps run after 256 … 256 + 127 past tokens.
    exact = 50.0 + sum(step_ms(256 + i) for i in range(128))
    estimate = scenario.end_to_end_ms(50.0, step_ms(scenario.middle_context))
    assert estimate == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("text", ["chat", "chat=256", "chat=0:5", "chat=5:1", "=1:2", "a b=1:2"])
def test_malformed_scenarios_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="a scenario"):
        Scenario.parse(text)


def test_impossible_workloads_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a prefill needs"):
        Workload(phase="prefill", tokens=8, past_tokens=3)
    with pytest.raises(ConfigurationError, match="a decode step"):
        decode(0)
