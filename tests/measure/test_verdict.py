"""Every number has a verdict, and every doubt a reason that says what to do."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import measurement
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement
from phonelm_search.measure import MeasureSettings, summarise
from phonelm_search.measure.disturbance import disturbance
from phonelm_search.measure.verdict import judge_round, judge_rounds

SETTINGS = MeasureSettings()
SPINNING = {"soc": "x", "threads": "2", "spinning": "on"}


def window(**shares: float) -> dict[str, Any]:
    return {
        "samples": 9, "wall_ns": 10**9, "foreign_share": 0.0, "steal_share": 0.0, **shares,
    }  # fmt: skip


def judged(m: Measurement, **changes: Any) -> tuple[str, tuple[str, ...]]:
    """The verdict and the reasons' texts."""
    verdict, reasons = judge_round(m, SETTINGS, **{"cache_bytes": 50, **changes})
    return verdict, texts(reasons)


def texts(reasons: Iterable[Reason]) -> tuple[str, ...]:
    return tuple(r.text for r in reasons)


def test_a_quiet_round_is_valid() -> None:
    m = measurement(
        [100] * 9,
        environment=SPINNING,
        drift=0.02,
        bandwidth_drift=0.05,
        disturbance={"cpu_ns": [199] * 9, "switches": [0] * 9, "windows": [window()]},
    )
    assert judged(m) == ("valid", ())


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"samples_ns": (100,) * 9 + (0,)}, "rejected", "clock cannot be trusted"),
        ({"samples_ns": (100,) * 4}, "suspect", "only 4 samples, fewer than 5"),
        ({"settled": False}, "suspect", "warm-up did not settle"),
        ({"drift": 0.31}, "rejected", "reference shape was 31.0% slower than usual"),
        ({"drift": -0.31}, "suspect", "reference shape was 31.0% faster than usual"),
        ({"bandwidth_drift": 0.7}, "suspect", "read bandwidth was 70% off the usual"),
        (
            {"disturbance": {"windows": [window(foreign_share=0.15)]}},
            "suspect",
            "other processes took 15% of the processor",
        ),
        (
            {"disturbance": {"windows": [window(foreign_share=0.5)]}},
            "rejected",
            "close other programs",
        ),
        (
            {"disturbance": {"windows": [window(steal_share=0.12)]}},
            "suspect",
            "other guests of this host took 12%",
        ),
        (
            {"environment": SPINNING, "disturbance": {"cpu_ns": [170] * 9}},
            "suspect",
            "only 85% of its cores' time",
        ),
        (
            {"environment": SPINNING, "disturbance": {"cpu_ns": [120] * 9}},
            "rejected",
            "only 60% of its cores' time",
        ),
        (
            {"conditions": {"before": {"frequency_khz": 3e6}, "after": {"frequency_khz": 2e6}}},
            "suspect",
            "frequency fell from 3.00 to 2.00 GHz; let the device cool down",
        ),
        (
            {"conditions": {"before": {"temperature_c": 35}, "after": {"temperature_c": 52}}},
            "suspect",
            "temperature rose from 35 to 52 °C",
        ),
        (
            {
                "conditions": {
                    "before": {"frequency_limits_khz": 8e6},
                    "after": {"frequency_limits_khz": 6e6},
                }
            },
            "suspect",
            "its cores' highest frequencies fell by 25%",
        ),
        (
            {
                "conditions": {
                    "before": {"frequency_limits_khz": 6e6, "frequency_full_khz": 8e6},
                    "after": {},
                }
            },
            "suspect",
            "highest frequencies were held at 75% of the full ones",
        ),
        (
            {"conditions": {"before": {"thermal_status": 3}, "after": {"thermal_status": 3}}},
            "suspect",
            "throttled from the start: its thermal status was 3",
        ),
        (
            {"conditions": {"before": {"thermal_status": 0}, "after": {"thermal_status": 2}}},
            "suspect",
            "its thermal status rose from 0 to 2",
        ),
        (
            {"conditions": {"before": {"major_faults": 5}, "after": {"major_faults": 1005}}},
            "suspect",
            "1000 of the runner's pages came back from swap",
        ),
        (
            {"conditions": {"before": {"swapped_pages": 5}, "after": {"swapped_pages": 25}}},
            "suspect",
            "20 pages were swapped",
        ),
    ],
)
def test_doubts_have_reasons(changes: dict[str, Any], verdict: str, reason: str) -> None:
    found, reasons = judged(replace(measurement([100] * 9), **changes))
    assert found == verdict
    assert any(reason in r for r in reasons)


def test_a_sensor_that_follows_the_load_is_no_doubt_where_limits_are_told() -> None:
    limits = {"frequency_limits_khz": 8e6, "frequency_full_khz": 8e6}
    before, after = {"temperature_c": 35, **limits}, {"temperature_c": 62, **limits}
    assert judged(measurement([100] * 9, conditions={"before": before, "after": after}))[1] == ()


def test_copies_must_exceed_the_cache_where_a_round_is_cold() -> None:
    rotated = {"rotation_bytes": 300}
    cold = measurement([100] * 9, protocol=rotated)
    warm = measurement([100] * 9, cache_mode="warm", protocol=rotated)
    flushed = measurement([100] * 9, protocol={"rotation_bytes": 0})
    assert judged(cold) == ("valid", ())
    assert "less than 6 times the cache of 51 B" in judged(cold, cache_bytes=51)[1][0]
    assert judged(warm, cache_bytes=51) == ("valid", ())
    assert judged(flushed, cache_bytes=51) == ("valid", ())


def test_a_tiny_model_need_not_keep_the_workers_busy() -> None:
    counters = {"cpu_ns": [110] * 9}
    m = measurement([100] * 9, environment=SPINNING, disturbance=counters, cache_mode="tiny")
    assert judged(m) == ("valid", ())


def test_what_the_system_does_not_tell_is_no_reason() -> None:
    assert disturbance([1, 2], {}, threads=2).foreign_share is None
    assert judged(measurement([100] * 9, conditions={"before": {}, "after": {"x": 1}}))[1] == ()


def test_shares_are_weighted_by_time() -> None:
    long, short = window(foreign_share=0.1), {**window(foreign_share=0.7), "wall_ns": 10**8}
    seen = disturbance([1], {"windows": [long, short]}, threads=1)
    assert seen.foreign_share == pytest.approx((0.1 + 0.07) / 1.1)


def rounds_of(*verdicts: str, protocol: int = 3) -> list[Measurement]:
    return [
        measurement(
            [1_000_000 * (i + 1)] * 9,
            round=i,
            verdict=v,
            reasons=() if v == "valid" else (Reason(kind="noise", what=f"reason {i}"),),
            protocol={"rounds": protocol},
        )
        for i, v in enumerate(verdicts)
    ]


def test_three_good_rounds_are_enough_and_the_disturbed_ones_are_left_out() -> None:
    found = summarise(
        [
            *(replace(m, samples_ns=(10**6,) * 9) for m in rounds_of("valid", "valid", "valid")),
            *rounds_of("rejected", "suspect"),
        ]
    )
    assert (found.latency_ms, found.rounds, found.verdict, found.reasons) == (1.0, 3, "valid", ())


def test_too_few_good_rounds_are_suspect_with_the_reasons_of_all_that_count() -> None:
    found = summarise(rounds_of("valid", "suspect", "rejected"))
    assert (found.rounds, found.verdict) == (2, "suspect")
    assert (
        "only 2 of 3 rounds are good, 3 are wanted; measure again (`search` or `profile` with "
        "--remeasure)"
    ) in texts(found.reasons)
    assert "reason 1" in texts(found.reasons)
    assert "reason 2" not in texts(found.reasons)


def test_a_single_round_is_suspect_and_says_so() -> None:
    assert texts(summarise(rounds_of("valid")).reasons) == ("single round",)
    lone = summarise(rounds_of("rejected", "valid", "rejected"))
    assert texts(lone.reasons) == (
        "only 1 of 3 rounds is good, 3 are wanted; measure again (`search` or `profile` with "
        "--remeasure)",
    )


def test_rounds_that_are_all_rejected_stay_rejected() -> None:
    found = summarise(rounds_of("rejected", "rejected"))
    assert (found.verdict, texts(found.reasons)) == ("rejected", ("reason 0 (in 2 rounds)",))


KINDS = {
    "load": "other processes took {}% of the processor, more than 10%; close other programs",
    "slower": "the reference shape was {}.5% slower than usual; wait",
    "faster": "the reference shape was {}.5% faster than usual; wait",
    "few": "only {} samples, fewer than 5",
    "once": "the warm-up did not settle",
}


def doubt(kind: str, number: int) -> Reason:
    what, _, remedy = KINDS[kind].format(number).partition("; ")
    return Reason(kind=kind, what=what, remedy=remedy or None)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 120)), max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_reasons_of_several_rounds_are_one_where_their_numbers_alone_differ(
    seen: list[list[tuple[str, int]]],
) -> None:
    rounds = [
        measurement([1] * 9, verdict="rejected", reasons=tuple(doubt(*d) for d in doubts))
        for doubts in seen
    ]
    alike: dict[str, list[str]] = {}
    for text in (r.text for m in rounds for r in m.reasons):
        alike.setdefault(re.sub(r"[0-9]+(\.[0-9]+)?", "#", text), []).append(text)
    merged = [f"{t[0]} (in {len(t)} rounds)" if len(t) > 1 else t[0] for t in alike.values()]
    verdict, reasons = judge_rounds(rounds, wanted=3, made=len(rounds), relative_width=0.0)
    assert (verdict, list(texts(reasons))) == ("rejected", merged)


def test_what_is_said_of_one_phone_is_not_counted_as_said_of_another() -> None:
    doubts = [Reason(kind="phone-slower", what=f"{s} is slower", about=s) for s in "aba"]
    rounds = [measurement([1] * 9, verdict="rejected", reasons=(r,)) for r in doubts]
    _, reasons = judge_rounds(rounds, wanted=3, made=3, relative_width=0.0)
    assert texts(reasons) == ("a is slower (in 2 rounds)", "b is slower")


def test_rounds_that_are_cold_in_two_ways_are_suspect() -> None:
    rotated, flushed = ({"rounds": 2, "rotation_bytes": n} for n in (300, 0))
    rounds = [
        measurement([10**6] * 9, round=i, protocol=p) for i, p in ((0, rotated), (1, flushed))
    ]
    found = summarise(rounds)
    assert found.verdict == "suspect"
    assert "some rounds were made cold by rotation and some by a flush" in found.reasons[0].text
    assert summarise(rounds[:1] * 2).verdict == "valid"


def test_rounds_far_apart_are_suspect() -> None:
    found = summarise(rounds_of("valid", "valid", "valid"))
    assert found.verdict == "suspect"
    assert re.match(r"interval of pp16 \d+% of the median, wider than 10%; ", found.reasons[0].text)


def test_rounds_of_different_environments_never_mix() -> None:
    rounds = [measurement([1]), measurement([1], environment={"soc": "y"})]
    with pytest.raises(ValueError, match="rounds must be of one measurement"):
        summarise(rounds)
