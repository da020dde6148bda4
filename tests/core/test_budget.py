"""Limits that a person writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.budget import (
    QUANTITIES,
    Budget,
    check_budgets,
    parse_budget,
    parse_budgets,
    with_budgets,
)
from phonelm_search.core.errors import ConfigurationError, UnknownNameError


@pytest.mark.parametrize(
    ("quantity", "text", "limit", "device", "scenario"),
    [
        ("ttft", "400ms", 400.0, None, None),
        ("ttft", "0.4s", 400.0, None, None),
        ("tpot", "pixel-8=15 ms", 15.0, "pixel-8", None),
        ("latency", "900ms", 900.0, None, None),
        ("latency", "chat=256:128:900ms", 900.0, None, "chat=256:128"),
        ("latency", "pixel-8=chat=256:128:1.2s", 1200.0, "pixel-8", "chat=256:128"),
        ("latency", "pixel-8=900ms", 900.0, "pixel-8", None),
        ("memory", "300MB", 300e6, None, None),
        ("loss", "+1%", 1.01, None, None),
        ("loss", "-0.5 %", 0.995, None, None),
        ("loss", "0%", 1.0, None, None),
    ],
)
def test_a_limit_is_read(
    quantity: str, text: str, limit: float, device: str | None, scenario: str | None
) -> None:
    found = parse_budget(quantity, text)  # type: ignore[arg-type]
    assert found.limit == pytest.approx(limit)
    assert (found.device, found.scenario) == (device, scenario)


@pytest.mark.parametrize(
    ("quantity", "text", "message"),
    [
        ("ttft", "400", "--max-ttft: a time must be such as 400ms or 1.2s, got '400'"),
        ("ttft", "=4ms", "--max-ttft: a device's name must stand before '=', got '=4ms'"),
        ("tpot", "0ms", "--max-tpot must be positive, got 0 ms"),
        ("latency", "chat=256:128:0s", "--max-latency must be positive, got 0 ms"),
        ("loss", "-100%", "--max-loss must be positive, got -100.0%"),
        ("memory", "phone=300MB", "--max-memory holds for all devices"),
        ("memory", "many", "--max-memory: bytes must be a number such as 32kB"),
        ("loss", "1", "--max-loss: a loss must be told against the baseline's, such as"),
        ("loss", "nan%", "--max-loss: a loss must be told"),
        ("latency", "chat=256:1:900ms", "a scenario needs at least 1 prompt token and 2"),
    ],
)
def test_what_is_no_limit_is_refused_with_the_option(
    quantity: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_budget(quantity, text)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_limits_are_told_in_their_units() -> None:
    budgets = parse_budgets(ttft=["400ms", "pixel-8=0.5s"], memory="300MB", loss="+1%", tpot=())
    assert [b.text for b in budgets] == [
        "TTFT ≤ 400 ms", "TTFT on pixel-8 ≤ 500 ms", "memory ≤ 300 MB", "loss ≤ +1.0%",
    ]  # fmt: skip


def test_one_thing_is_limited_once() -> None:
    with pytest.raises(ConfigurationError, match="--max-ttft must be given once"):
        parse_budgets(ttft=["400ms", "500ms"])


def test_none_clears_a_quantity_and_what_is_left_out_stays() -> None:
    known = parse_budgets(ttft=["400ms", "pixel-8=0.5s"], memory="300MB")
    assert with_budgets(known, ()) == known
    assert [b.text for b in with_budgets(known, parse_budgets(ttft="none"))] == ["memory ≤ 300 MB"]
    changed = with_budgets(known, parse_budgets(ttft="0.3s", loss="+1%", tpot="None"))
    assert [b.text for b in changed] == ["TTFT ≤ 300 ms", "memory ≤ 300 MB", "loss ≤ +1.0%"]
    nothing = parse_budgets(**dict.fromkeys(QUANTITIES, "none"))
    assert with_budgets(changed, nothing) == ()
    with pytest.raises(ConfigurationError, match="--max-ttft must be none or a limit, got both"):
        parse_budgets(ttft=["none", "pixel-8=400ms"])


@given(st.lists(st.sampled_from(["none", "+1%", "-2.5%"]), min_size=1, max_size=3))
def test_the_last_word_counts(texts: list[str]) -> None:
    budgets: tuple[Budget, ...] = ()
    for text in texts:
        budgets = with_budgets(budgets, parse_budgets(loss=text))
    last = texts[-1]
    assert [b.limit for b in budgets] == ([] if last == "none" else [1 + float(last[:-1]) / 100])


def test_a_study_can_only_be_asked_for_what_it_measures() -> None:
    on_other = Budget(quantity="ttft", limit=1.0, device="pixel")
    with pytest.raises(UnknownNameError, match="pixel"):
        check_budgets([on_other], ["host-cpu"], "chat=256:128")
    other = Budget(quantity="latency", limit=1.0, scenario="long=512:64")
    with pytest.raises(ConfigurationError, match="give --scenario long=512:64 to another study"):
        check_budgets([other], ["host-cpu"], "chat=256:128")
