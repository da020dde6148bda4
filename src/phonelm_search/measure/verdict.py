"""How far to trust a round, and the rounds together, with reasons that say what to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.judged_round import Judgement
from phonelm_search.core.judgement import Verdict
from phonelm_search.core.latency import Extent
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement
from phonelm_search.work import MORE_CORES, quota_in_words

_LEAST_SAMPLES = 3
WIDEST_HALF = 0.03
"""Half width of a relative interval, as a share, beyond which a latency is suspect."""
_LEAST_FREQUENCY = 0.95
_THROTTLED = 0.8
_MOST_FAULTS = 100
_LEAST_HELD_UP_US = 10_000
_COOLER = "let the device cool down, or fix its governor"
_AGAIN = "measure again (`search` or `profile` with --remeasure)"
_SMALLER = "close programs or use a smaller precision"
_LARGER = (
    "give the container more memory (docker run --memory, a pod's limits.memory), or use a smaller "
    "precision"
)


def judge_round(m: Measurement) -> tuple[Verdict, tuple[Reason, ...]]:
    """Judge one round by itself.

    What disturbs all models of a process alike is no reason against any of them: the comparison
    takes it out. Here is what breaks the comparison.

    Args:
        m: The round; its own verdict is not looked at.

    Returns:
        The verdict and the reasons why it is not valid. A rejected round is made again.
    """
    if any(s <= 0 for s in m.samples_ns):
        what = "a sample is not positive: the device's clock cannot be trusted"
        return "rejected", (Reason(kind="clock", what=what),)
    suspect: list[Reason] = []
    if len(m.samples_ns) < _LEAST_SAMPLES:
        what = f"only {len(m.samples_ns)} samples, fewer than {_LEAST_SAMPLES}"
        suspect.append(Reason(kind="few-samples", what=what))
    suspect += _throttled_at_the_start(m.conditions.get("before") or {})
    suspect += _held_up(m)
    rejected = _changed_conditions(m)
    verdict: Verdict = "rejected" if rejected else "suspect" if suspect else "valid"
    return verdict, (*rejected, *suspect)


def _changed_conditions(m: Measurement) -> list[Reason]:
    """What makes the models of one process unlike: it changed while it ran."""
    before, after = m.conditions.get("before", {}), m.conditions.get("after", {})

    def both(name: str) -> tuple[float, float] | None:
        first, last = before.get(name), after.get(name)
        return None if first is None or last is None else (float(first), float(last))

    reasons: list[Reason] = []
    frequency = both("frequency_khz")
    if frequency and frequency[1] < _THROTTLED * frequency[0]:
        what = (
            f"the processor's frequency fell from {frequency[0] / 1e6:.2f} to "
            f"{frequency[1] / 1e6:.2f} GHz"
        )
        reasons.append(Reason(kind="frequency-fell", what=what, remedy=_COOLER))
    limits = both("frequency_limits_khz")
    if limits and limits[1] < limits[0]:
        what = (
            f"the device throttled: its cores' highest frequencies fell by "
            f"{1 - limits[1] / limits[0]:.0%}"
        )
        reasons.append(Reason(kind="limits-fell", what=what, remedy=_COOLER))
    status = both("thermal_status")
    if status and status[1] > status[0]:
        what = (
            f"the device throttled: its thermal status rose from {status[0]:.0f} to {status[1]:.0f}"
        )
        reasons.append(Reason(kind="thermal-status-rose", what=what, remedy=_COOLER))
    memory_remedy = _LARGER if before.get("memory_limit_bytes") else _SMALLER
    swapped = both("swapped_pages")
    if swapped and swapped[1] > swapped[0]:
        what = f"{swapped[1] - swapped[0]:.0f} pages were swapped"
        reasons.append(Reason(kind="swapped-pages", what=what, remedy=memory_remedy))
    faults = both("major_faults")
    if faults and faults[1] - faults[0] > _MOST_FAULTS:
        what = f"{faults[1] - faults[0]:.0f} of the runner's pages came back from swap or storage"
        reasons.append(Reason(kind="major-faults", what=what, remedy=memory_remedy))
    return reasons


def _held_up(m: Measurement) -> list[Reason]:
    """A container's quota: no program causes it, and another round is none better."""
    before, after = m.conditions.get("before") or {}, m.conditions.get("after") or {}
    quota, first, last = (
        after.get("quota_cores"),
        before.get("quota_held_up_us"),
        after.get("quota_held_up_us"),
    )
    if quota is None or first is None or last is None or last - first < _LEAST_HELD_UP_US:
        return []
    what = f"{quota_in_words(quota)}, and that held it up for {(last - first) / 1e6:.3g} s"
    return [Reason(kind="quota", what=what, remedy=MORE_CORES)]


def _throttled_at_the_start(before: Mapping[str, Any]) -> list[Reason]:
    """What was wrong with the device before anything ran."""
    reasons = []
    status = before.get("thermal_status")
    if status:
        what = (
            f"the device throttled from the start: its thermal status was {status}, after "
            f"{before.get('cooldown_s', 0):.0f} s of waiting"
        )
        reasons.append(Reason(kind="thermal-status-at-start", what=what, remedy=_COOLER))
    limits, full = before.get("frequency_limits_khz"), before.get("frequency_full_khz")
    if limits and full and limits < _LEAST_FREQUENCY * full:
        what = f"the cores' highest frequencies were held at {limits / full:.0%} of the full ones"
        remedy = f"switch off battery saver and the like, or {_COOLER}"
        reasons.append(Reason(kind="limits-at-start", what=what, remedy=remedy))
    start, limit = before.get("phone_temperature_c"), before.get("highest_start_c")
    if start is not None and limit is not None and start > limit:
        what = (
            f"the round began at {start:.0f} °C, above {limit:.0f} °C, after "
            f"{before.get('cooldown_s', 0):.0f} s of waiting"
        )
        remedy = "move the phone to a cooler place, or raise thermal.longest_cooldown_s"
        reasons.append(Reason(kind="hot-start", what=what, remedy=remedy))
    return reasons


def judge_rounds(
    rounds: Sequence[Measurement | Judgement], *, made: int
) -> tuple[Verdict, tuple[Reason, ...]]:
    """Judge the rounds of one measurement together.

    Args:
        rounds: Those that count, at least one.
        made: Rounds that were made, those that do not count among them.
    """
    if all(m.verdict == "rejected" for m in rounds):
        return "rejected", _merged(r for m in rounds for r in m.reasons)
    reasons: list[Reason] = []
    if len(rounds) == 1 and made > 1:
        what = f"only 1 of {made} rounds is good"
        reasons.append(Reason(kind="few-rounds", what=what, remedy=_AGAIN))
    if len({m.protocol.get("rotation_bytes", 0) > 0 for m in rounds}) > 1:
        what = (
            "some rounds were made cold by rotation and some by a flush, as memory allowed, which "
            "may differ by 3 %"
        )
        reasons.append(Reason(kind="cold-in-two-ways", what=what, remedy=_AGAIN))
    reasons += _merged(r for m in rounds for r in m.reasons)
    return ("suspect" if reasons else "valid"), tuple(dict.fromkeys(reasons))


def too_wide(relative: Extent, name: str) -> Reason | None:
    """Why a latency that is told as a share of another one's is suspect, by its interval."""
    half = (relative.high - relative.low) / (2 * relative.value)
    if half <= WIDEST_HALF:
        return None
    what = (
        f"it is {relative.low:.3g} to {relative.high:.3g} of {name}, ± {half:.1%}, wider than "
        f"± {WIDEST_HALF:.0%}"
    )
    return Reason(kind="wide-interval", what=what, remedy="let it have more rounds (--minutes)")


def _merged(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Reasons of several rounds; of those of one kind the first, and how many there are."""
    alike: dict[tuple[str, str | None], list[Reason]] = {}
    for reason in reasons:
        alike.setdefault((reason.kind, reason.about), []).append(reason)
    return tuple(replace(same[0], rounds=len(same)) for same in alike.values())
