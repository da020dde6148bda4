"""How far to trust a round, and the rounds together, with reasons that say what to do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement, Verdict
from phonelm_search.core.units import format_bytes
from phonelm_search.measure.disturbance import disturbance
from phonelm_search.measure.settings import MeasureSettings

_LEAST_SAMPLES = 5
WIDEST_INTERVAL = 0.10
_LEAST_CPU_SHARE = 0.9
_LEAST_FREQUENCY = 0.95
_MOST_WARMER_C = 10.0
_MOST_FAULTS = 100
_COOLER = "let the device cool down, or fix its governor"
_AGAIN = "measure again (`search` or `profile` with --remeasure)"
_CLOSE = f"close other programs and {_AGAIN}"
_QUIETER = "measure at a quieter time"
_SMALLER = "close programs or use a smaller precision"
_WORSE = 2.0  # times the limit: the round is rejected and made again


def judge_round(
    m: Measurement, settings: MeasureSettings, *, cache_bytes: int
) -> tuple[Verdict, tuple[Reason, ...]]:
    """Judge one round by itself and by the reference in it.

    Args:
        m: The round; its own verdict is not looked at.
        settings: Limits.
        cache_bytes: Size of the last-level cache.

    Returns:
        The verdict and the reasons why it is not valid. A rejected round is made again.
    """
    if any(s <= 0 for s in m.samples_ns):
        what = "a sample is not positive: the device's clock cannot be trusted"
        return "rejected", (Reason(kind="clock", what=what),)
    rejected, suspect = _disturbed(m, settings)
    if m.drift is not None and abs(m.drift) > settings.drift_limit:
        # A faster machine disturbs nothing, but it is not the one of the other rounds.
        slower = m.drift > 0
        reason = Reason(
            kind="drift-slower" if slower else "drift-faster",
            what=f"the reference shape was {abs(m.drift):.1%} {'slower' if slower else 'faster'} "
            f"than usual, more than {settings.drift_limit:.0%}",
            remedy="wait until the machine is quiet"
            if slower
            else "the machine's speed changes; fix its frequency",
        )
        (rejected if slower else suspect).append(reason)
    if m.bandwidth_drift is not None and m.bandwidth_drift > settings.bandwidth_limit:
        what = (
            f"the read bandwidth was {m.bandwidth_drift:.0%} off the usual, more than "
            f"{settings.bandwidth_limit:.0%}: cores were moved or memory is in use elsewhere"
        )
        suspect.append(Reason(kind="bandwidth", what=what, remedy=_QUIETER))
    if len(m.samples_ns) < _LEAST_SAMPLES:
        what = f"only {len(m.samples_ns)} samples, fewer than {_LEAST_SAMPLES}"
        suspect.append(Reason(kind="few-samples", what=what))
    if not m.settled:
        what = "the warm-up did not settle: the machine's speed changes"
        suspect.append(Reason(kind="unsettled", what=what))
    streamed_bytes = m.protocol.get("rotation_bytes", 0)  # 0 where the cache was flushed instead
    if m.cache_mode == "cold" and 0 < streamed_bytes < settings.turn_bytes(cache_bytes):
        what = (
            f"copies stream {format_bytes(streamed_bytes)}, less than {settings.cache_factor} "
            f"times the cache of {format_bytes(cache_bytes)}"
        )
        suspect.append(Reason(kind="small-rotation", what=what))
    suspect += _changed_conditions(m)
    verdict: Verdict = "rejected" if rejected else "suspect" if suspect else "valid"
    return verdict, (*rejected, *suspect)


def _disturbed(m: Measurement, settings: MeasureSettings) -> tuple[list[Reason], list[Reason]]:
    """Reasons to reject and reasons to suspect, from the counters beside the samples."""
    threads = int(m.environment.get("threads", "1"))
    seen = disturbance(m.samples_ns, m.disturbance, threads=threads)
    rejected: list[Reason] = []
    suspect: list[Reason] = []
    limit = settings.foreign_limit
    for share, kind, who, remedy in (
        (seen.foreign_share, "other-processes", "other processes", _CLOSE),
        (seen.steal_share, "other-guests", "other guests of this host", _QUIETER),
    ):
        if share is not None and share > limit:
            heavy = share > _WORSE * limit
            what = f"{who} took {share:.0%} of the processor, more than {limit:.0%}"
            reason = Reason(kind=kind, what=what, remedy=remedy)
            (rejected if heavy else suspect).append(reason)
    # Spinning workers keep every thread busy, so a lower share means that a core was taken away;
    # the tiny model's operators are too small to be shared among threads.
    spinning = m.environment.get("spinning") == "on" and m.cache_mode != "tiny"
    spinning &= m.coverage is None  # the processor waits for an accelerator
    if spinning and seen.cpu_share is not None and seen.cpu_share < _LEAST_CPU_SHARE:
        heavy = seen.cpu_share < 1 - _WORSE * (1 - _LEAST_CPU_SHARE)
        what = f"the runner had only {seen.cpu_share:.0%} of its cores' time"
        reason = Reason(kind="taken-cores", what=what, remedy=_CLOSE)
        (rejected if heavy else suspect).append(reason)
    return rejected, suspect


def _changed_conditions(m: Measurement) -> list[Reason]:
    before, after = m.conditions.get("before", {}), m.conditions.get("after", {})

    def both(name: str) -> tuple[float, float] | None:
        first, last = before.get(name), after.get(name)
        return None if first is None or last is None else (float(first), float(last))

    reasons = _throttled_at_the_start(before)
    frequency = both("frequency_khz")
    if frequency and frequency[1] < _LEAST_FREQUENCY * frequency[0]:
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
    temperature = both("temperature_c")
    # A processor's sensor follows its load at once; where limits are told, they say what it did.
    if temperature and not limits and temperature[1] > temperature[0] + _MOST_WARMER_C:
        what = f"the temperature rose from {temperature[0]:.0f} to {temperature[1]:.0f} °C"
        reasons.append(Reason(kind="temperature-rose", what=what, remedy=_COOLER))
    swapped = both("swapped_pages")
    if swapped and swapped[1] > swapped[0]:
        what = f"{swapped[1] - swapped[0]:.0f} pages were swapped"
        reasons.append(Reason(kind="swapped-pages", what=what, remedy=_SMALLER))
    faults = both("major_faults")
    if faults and faults[1] - faults[0] > _MOST_FAULTS:
        what = f"{faults[1] - faults[0]:.0f} of the runner's pages came back from swap or storage"
        reasons.append(Reason(kind="major-faults", what=what, remedy=_SMALLER))
    return reasons


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
    rounds: Sequence[Measurement], *, wanted: int, made: int, relative_width: float
) -> tuple[Verdict, tuple[Reason, ...]]:
    """Judge the rounds of one measurement together.

    Args:
        rounds: Those that count, at least one.
        wanted: Rounds that the protocol asks for.
        made: Rounds that were made, those that do not count among them.
        relative_width: Width of their 95 % interval, as a share of the median.
    """
    if all(m.verdict == "rejected" for m in rounds):
        return "rejected", _merged(r for m in rounds for r in m.reasons)
    reasons: list[Reason] = []
    if made == 1:
        reasons.append(Reason(kind="single-round", what="single round"))
    elif len(rounds) < wanted:
        count = f"{len(rounds)} of {made} rounds {'is' if len(rounds) == 1 else 'are'} good"
        what = f"only {count}, {wanted} are wanted"
        reasons.append(Reason(kind="few-rounds", what=what, remedy=_AGAIN))
    if len({m.protocol.get("rotation_bytes", 0) > 0 for m in rounds}) > 1:
        what = (
            "some rounds were made cold by rotation and some by a flush, as memory allowed, which "
            "may differ by 3 %"
        )
        reasons.append(Reason(kind="cold-in-two-ways", what=what, remedy=_AGAIN))
    if relative_width > WIDEST_INTERVAL:
        what = (
            f"interval of {rounds[0].workload.name} {relative_width:.0%} of the median, wider than "
            f"{WIDEST_INTERVAL:.0%}"
        )
        reasons.append(Reason(kind="wide-interval", what=what, remedy=_CLOSE))
    reasons += _merged(r for m in rounds for r in m.reasons)
    return ("suspect" if reasons else "valid"), tuple(dict.fromkeys(reasons))


def _merged(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Reasons of several rounds; of those of one kind the first, and how many there are."""
    alike: dict[tuple[str, str | None], list[Reason]] = {}
    for reason in reasons:
        alike.setdefault((reason.kind, reason.about), []).append(reason)
    return tuple(replace(same[0], rounds=len(same)) for same in alike.values())
