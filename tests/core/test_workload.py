"""Workloads and scenarios."""

import pytest

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.workload import Scenario, Workload, decode, prefill


def test_names_are_llama_benchs() -> None:
    assert (prefill(512).name, decode(512).name) == ("pp512", "tg @ d512")


def test_a_short_answer_is_decoded_in_the_middle_and_a_long_one_at_two_contexts() -> None:
    assert Scenario.parse("chat=256:128").contexts == (320,)
    assert Scenario.parse("chat=256:128").workloads == (prefill(256), decode(320))
    assert Scenario.parse("essay=100:2000").contexts == (523, 1677)  # 1100 ± 1000/√3


@pytest.mark.parametrize("text", ["chat", "chat=256", "chat=0:5", "chat=5:1", "=1:2", "a b=1:2"])
def test_malformed_scenarios_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="a scenario"):
        Scenario.parse(text)


def test_impossible_workloads_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a prefill needs"):
        Workload(phase="prefill", tokens=8, past_tokens=3)
    with pytest.raises(ConfigurationError, match="a decode step"):
        decode(0)
