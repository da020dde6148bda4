"""Every number has a verdict, and every doubt a reason that says what to do."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import measurement
from phonelm_search.core.judged_round import JudgedRound, Judgement
from phonelm_search.core.latency import Extent, LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.measure import (
    REFERENCE,
    LatencyComparison,
    RoundColumns,
    judge_together,
    judged_alone,
    summarise,
    too_wide,
)
from phonelm_search.measure.verdict import judge_round, judge_rounds

SPINNING = {"soc": "x", "threads": "2", "spinning": "on"}


def window(**shares: float) -> dict[str, Any]:
    return {
        "samples": 9, "wall_ns": 10**9, "foreign_share": 0.0, "steal_share": 0.0, **shares,
    }  # fmt: skip


def judged(m: Measurement) -> tuple[str, tuple[str, ...]]:
    """The verdict and the reasons' texts."""
    verdict, reasons = judge_round(m)
    return verdict, texts(reasons)


def texts(reasons: Iterable[Reason]) -> tuple[str, ...]:
    return tuple(r.text for r in reasons)


def test_a_quiet_round_is_valid() -> None:
    m = measurement(
        [100] * 9,
        environment=SPINNING,
        disturbance={"cpu_ns": [199] * 9, "switches": [0] * 9, "windows": [window()]},
    )
    assert judged(m) == ("valid", ())


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"samples_ns": (100,) * 9 + (0,)}, "rejected", "clock cannot be trusted"),
        ({"samples_ns": (100,) * 2}, "suspect", "only 2 samples, fewer than 3"),
        (
            {"conditions": {"before": {"frequency_khz": 3e6}, "after": {"frequency_khz": 2e6}}},
            "rejected",
            "frequency fell from 3.00 to 2.00 GHz; let the device cool down",
        ),
        (
            {
                "conditions": {
                    "before": {"frequency_limits_khz": 8e6},
                    "after": {"frequency_limits_khz": 6e6},
                }
            },
            "rejected",
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
            "rejected",
            "its thermal status rose from 0 to 2",
        ),
        (
            {"conditions": {"before": {"major_faults": 5}, "after": {"major_faults": 1005}}},
            "rejected",
            "1000 of the runner's pages came back from swap",
        ),
        (
            {"conditions": {"before": {"swapped_pages": 5}, "after": {"swapped_pages": 25}}},
            "rejected",
            "20 pages were swapped",
        ),
    ],
)
def test_doubts_have_reasons(changes: dict[str, Any], verdict: str, reason: str) -> None:
    found, reasons = judged(replace(measurement([100] * 9), **changes))
    assert found == verdict
    assert any(reason in r for r in reasons)


@pytest.mark.parametrize(
    "changes",
    [
        {"settled": False},
        {"disturbance": {"windows": [window(foreign_share=0.5, steal_share=0.3)]}},
        {"environment": SPINNING, "disturbance": {"cpu_ns": [120] * 9}},
        {"bandwidth_bytes_per_s": 1e6},
        {"conditions": {"before": {"temperature_c": 35}, "after": {"temperature_c": 62}}},
    ],
    ids=["unsettled", "other programs and guests", "taken cores", "slow memory", "warmer"],
)
def test_what_disturbs_all_models_of_a_process_alike_is_no_doubt(changes: dict[str, Any]) -> None:
    assert judged(replace(measurement([100] * 9), **changes)) == ("valid", ())


def test_what_the_system_does_not_tell_is_no_reason() -> None:
    assert judged(measurement([100] * 9, conditions={"before": {}, "after": {"x": 1}}))[1] == ()


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


def together(rounds: list[Measurement]) -> LatencySummary:
    """Summed up beside the reference, which is as fast in every process."""
    medians = [
        RoundMedian(
            shape_id=shape_id, twin=False, paired_ns=ns, process=str(m.round), place=place,
            serial=None, created_at=m.created_at,
        )
        for m in rounds
        if m.verdict != "rejected"
        for place, shape_id, ns in (
            (m.round % 2, m.shape_id, float(np.median(m.samples_ns))),
            (1 - m.round % 2, REFERENCE.shape_id, 1e6),
        )
    ]  # fmt: skip
    if not medians:
        return summarise(rounds, None)
    comparison = LatencyComparison(RoundColumns.of(medians))
    found = summarise(rounds, comparison)
    # Studies are read without samples, and by the same rules.
    alike = replace(found, relative=None, p90_ms=None, p99_ms=None)
    usual = comparison.usual_ms(rounds[0].shape_id)
    judgement, bandwidth = judge_together([judged_round(m) for m in rounds])
    assert judgement.summary(usual, bandwidth) == alike
    return found


def judged_round(m: Measurement) -> JudgedRound:
    """As a study's reading takes it from the database."""
    said = {f.name: getattr(m, f.name) for f in fields(Judgement)}
    return JudgedRound(
        key=m.key, shape_id=m.shape_id, peak_bytes=m.peak_bytes,
        bandwidth_bytes_per_s=m.bandwidth_bytes_per_s, judgement=Judgement(**said),
    )  # fmt: skip


def test_rejected_rounds_are_left_out() -> None:
    good = [replace(m, samples_ns=(10**6,) * 9) for m in rounds_of("valid", "valid", "valid")]
    bad = [replace(m, round=7) for m in rounds_of("rejected")]
    found = together([*good, *bad])
    assert found.latency_ms == pytest.approx(1.0, rel=0.02)
    assert (found.rounds, found.verdict, found.reasons) == (3, "valid", ())
    assert found.relative is not None
    assert found.relative.low < 1 < found.relative.high


def test_one_good_round_of_several_is_suspect_and_says_so() -> None:
    lone = together(rounds_of("rejected", "valid", "rejected"))
    assert texts(lone.reasons) == (
        "only 1 of 3 rounds is good; measure again (`search` or `profile` with --remeasure)",
    )
    assert together(rounds_of("valid")).verdict == "valid"


def test_reasons_of_rounds_that_count_are_told() -> None:
    found = together(rounds_of("valid", "suspect", "rejected"))
    assert (found.rounds, found.verdict, texts(found.reasons)) == (2, "suspect", ("reason 1",))


def test_rounds_that_are_all_rejected_stay_rejected() -> None:
    found = together(rounds_of("rejected", "rejected"))
    assert (found.verdict, texts(found.reasons)) == ("rejected", ("reason 0 (in 2 rounds)",))
    assert (found.latency_ms, found.relative) == (1.5, None)


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
    verdict, reasons = judge_rounds(rounds, made=len(rounds))
    assert (verdict, list(texts(reasons))) == ("rejected", merged)


def test_what_is_said_of_one_phone_is_not_counted_as_said_of_another() -> None:
    doubts = [Reason(kind="phone-slower", what=f"{s} is slower", about=s) for s in "aba"]
    rounds = [measurement([1] * 9, verdict="rejected", reasons=(r,)) for r in doubts]
    _, reasons = judge_rounds(rounds, made=3)
    assert texts(reasons) == ("a is slower (in 2 rounds)", "b is slower")


def test_rounds_that_are_cold_in_two_ways_are_suspect() -> None:
    rotated, flushed = ({"rounds": 2, "rotation_bytes": n} for n in (300, 0))
    rounds = [
        measurement([10**6] * 9, round=i, protocol=p) for i, p in ((0, rotated), (1, flushed))
    ]
    found = together(rounds)
    assert found.verdict == "suspect"
    assert "some rounds were made cold by rotation and some by a flush" in found.reasons[0].text
    assert together(rounds[:1] * 2).verdict == "valid"


def test_a_wide_interval_alone_is_suspect_and_says_of_what() -> None:
    relative = Extent(1.0, 0.96, 1.04)
    reason = too_wide(relative, "SmolLM2-135M")
    assert reason is not None
    assert reason.text.startswith("it is 0.96 to 1.04 of SmolLM2-135M, ± 4.0%, wider than ± 3%")
    assert too_wide(Extent(2.0, 1.96, 2.04), "SmolLM2-135M") is None
    found = together(rounds_of("valid", "valid", "valid"))  # 1, 2 and 3 ms
    assert found.verdict == "valid"  # of a whole scenario the whole is judged
    assert judged_alone(found).verdict == "suspect"


def test_rounds_of_different_environments_never_mix() -> None:
    rounds = [measurement([1]), measurement([1], environment={"soc": "y"})]
    with pytest.raises(ValueError, match="rounds must be of one measurement"):
        summarise(rounds, None)


@pytest.mark.parametrize(("last", "verdict"), [(5_000, "valid"), (2_500_000, "suspect")])
def test_a_containers_quota_is_named_and_no_program_is_blamed(last: int, verdict: str) -> None:
    held_up = {"quota_cores": 0.5, "quota_held_up_us": 0}
    conditions = {"before": held_up, "after": {**held_up, "quota_held_up_us": last}}
    found, reasons = judged(measurement([100] * 9, conditions=conditions))
    assert found == verdict
    if reasons:
        (reason,) = reasons
        assert reason.startswith(
            "this container may use 0.5 of a core, and that held it up for 2.5 s;"
        )
        assert "docker run --cpus" in reason
        assert "program" not in reason


def test_swapping_in_a_container_is_its_limits_doing() -> None:
    before = {"swapped_pages": 0, "memory_limit_bytes": 10**9}
    conditions = {"before": before, "after": {**before, "swapped_pages": 7}}
    _, (reason,) = judged(measurement([100] * 9, conditions=conditions))
    assert "give the container more memory" in reason
    assert "close programs" not in reason
