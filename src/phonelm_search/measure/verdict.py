"""How far to trust a round, and the rounds together, with reasons that say what to do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phonelm_search.core.records import Measurement, Verdict
from phonelm_search.core.statistics import interval
from phonelm_search.core.units import format_bytes
from phonelm_search.measure.disturbance import disturbance
from phonelm_search.measure.settings import MeasureSettings

SINGLE_ROUND = "single round"
_LEAST_SAMPLES = 5
WIDEST_INTERVAL = 0.10
_LEAST_CPU_SHARE = 0.9
_LEAST_FREQUENCY = 0.95
_MOST_WARMER_C = 10.0
_MOST_FAULTS = 100
_COOLER = "let the device cool down, or fix its governor"
_AGAIN = "measure again (`search` or `profile` with --remeasure)"
_CLOSE = f"close other programs and {_AGAIN}"
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_WORSE = 2.0  # times the limit: the round is rejected and made again


def judge_round(
    m: Measurement, settings: MeasureSettings, *, cache_bytes: int
) -> tuple[Verdict, tuple[str, ...]]:
    """Judge one round by itself and by the reference in it.

    Args:
        m: The round; its own verdict is not looked at.
        settings: Limits.
        cache_bytes: Size of the last-level cache.

    Returns:
        The verdict and the reasons why it is not valid. A rejected round is made again.
    """
    if any(s <= 0 for s in m.samples_ns):
        return "rejected", ("a sample is not positive: the device's clock cannot be trusted",)
    rejected, suspect = _disturbed(m, settings)
    if m.drift is not None and abs(m.drift) > settings.drift_limit:
        slower = m.drift > 0
        text = (
            f"the reference shape was {abs(m.drift):.1%} {'slower' if slower else 'faster'} than "
            f"usual, more than {settings.drift_limit:.0%}; "
        )
        # A faster machine disturbs nothing, but it is not the one of the other rounds.
        if slower:
            rejected.append(f"{text}wait until the machine is quiet")
        else:
            suspect.append(f"{text}the machine's speed changes; fix its frequency")
    if m.bandwidth_drift is not None and m.bandwidth_drift > settings.bandwidth_limit:
        suspect.append(
            f"the read bandwidth was {m.bandwidth_drift:.0%} off the usual, more than "
            f"{settings.bandwidth_limit:.0%}: cores were moved or memory is in use elsewhere; "
            "measure at a quieter time"
        )
    if len(m.samples_ns) < _LEAST_SAMPLES:
        suspect.append(f"only {len(m.samples_ns)} samples, fewer than {_LEAST_SAMPLES}")
    if not m.settled:
        suspect.append("the warm-up did not settle: the machine's speed changes")
    streamed_bytes = m.protocol.get("rotation_bytes", 0)  # 0 where the cache was flushed instead
    if m.cache_mode == "cold" and 0 < streamed_bytes < settings.turn_bytes(cache_bytes):
        suspect.append(
            f"copies stream {format_bytes(streamed_bytes)}, less than {settings.cache_factor} "
            f"times the cache of {format_bytes(cache_bytes)}"
        )
    suspect += _changed_conditions(m)
    verdict: Verdict = "rejected" if rejected else "suspect" if suspect else "valid"
    return verdict, (*rejected, *suspect)


def _disturbed(m: Measurement, settings: MeasureSettings) -> tuple[list[str], list[str]]:
    """Reasons to reject and reasons to suspect, from the counters beside the samples."""
    threads = int(m.environment.get("threads", "1"))
    seen = disturbance(m.samples_ns, m.disturbance, threads=threads)
    rejected: list[str] = []
    suspect: list[str] = []
    limit = settings.foreign_limit
    for share, who, remedy in (
        (seen.foreign_share, "other processes", _CLOSE),
        (seen.steal_share, "other guests of this host", "measure at a quieter time"),
    ):
        if share is not None and share > limit:
            heavy = share > _WORSE * limit
            text = f"{who} took {share:.0%} of the processor, more than {limit:.0%}; {remedy}"
            (rejected if heavy else suspect).append(text)
    # Spinning workers keep every thread busy, so a lower share means that a core was taken away;
    # the tiny model's operators are too small to be shared among threads.
    spinning = m.environment.get("spinning") == "on" and m.cache_mode != "tiny"
    spinning &= m.coverage is None  # the processor waits for an accelerator
    if spinning and seen.cpu_share is not None and seen.cpu_share < _LEAST_CPU_SHARE:
        heavy = seen.cpu_share < 1 - _WORSE * (1 - _LEAST_CPU_SHARE)
        text = f"the runner had only {seen.cpu_share:.0%} of its cores' time; {_CLOSE}"
        (rejected if heavy else suspect).append(text)
    return rejected, suspect


def _changed_conditions(m: Measurement) -> list[str]:
    before, after = m.conditions.get("before", {}), m.conditions.get("after", {})

    def both(name: str) -> tuple[float, float] | None:
        first, last = before.get(name), after.get(name)
        return None if first is None or last is None else (float(first), float(last))

    reasons = _throttled_at_the_start(before)
    frequency = both("frequency_khz")
    if frequency and frequency[1] < _LEAST_FREQUENCY * frequency[0]:
        reasons.append(
            f"the processor's frequency fell from {frequency[0] / 1e6:.2f} to "
            f"{frequency[1] / 1e6:.2f} GHz; {_COOLER}"
        )
    limits = both("frequency_limits_khz")
    if limits and limits[1] < limits[0]:
        reasons.append(
            f"the device throttled: its cores' highest frequencies fell by "
            f"{1 - limits[1] / limits[0]:.0%}; {_COOLER}"
        )
    status = both("thermal_status")
    if status and status[1] > status[0]:
        reasons.append(
            f"the device throttled: its thermal status rose from {status[0]:.0f} to "
            f"{status[1]:.0f}; {_COOLER}"
        )
    temperature = both("temperature_c")
    # A processor's sensor follows its load at once; where limits are told, they say what it did.
    if temperature and not limits and temperature[1] > temperature[0] + _MOST_WARMER_C:
        reasons.append(
            f"the temperature rose from {temperature[0]:.0f} to {temperature[1]:.0f} °C; {_COOLER}"
        )
    swapped = both("swapped_pages")
    if swapped and swapped[1] > swapped[0]:
        reasons.append(
            f"{swapped[1] - swapped[0]:.0f} pages were swapped; close programs or use a smaller "
            "precision"
        )
    faults = both("major_faults")
    if faults and faults[1] - faults[0] > _MOST_FAULTS:
        reasons.append(
            f"{faults[1] - faults[0]:.0f} of the runner's pages came back from swap or storage; "
            "close programs or use a smaller precision"
        )
    return reasons


def _throttled_at_the_start(before: Mapping[str, Any]) -> list[str]:
    """What was wrong with the device before anything ran."""
    reasons = []
    status = before.get("thermal_status")
    if status:
        reasons.append(
            f"the device throttled from the start: its thermal status was {status}, after "
            f"{before.get('cooldown_s', 0):.0f} s of waiting; {_COOLER}"
        )
    limits, full = before.get("frequency_limits_khz"), before.get("frequency_full_khz")
    if limits and full and limits < _LEAST_FREQUENCY * full:
        reasons.append(
            f"the cores' highest frequencies were held at {limits / full:.0%} of the full ones; "
            f"switch off battery saver and the like, or {_COOLER}"
        )
    start, limit = before.get("phone_temperature_c"), before.get("highest_start_c")
    if start is not None and limit is not None and start > limit:
        reasons.append(
            f"the round began at {start:.0f} °C, above {limit:.0f} °C, after "
            f"{before.get('cooldown_s', 0):.0f} s of waiting; move the phone to a cooler place, or "
            "raise thermal.longest_cooldown_s"
        )
    return reasons


def judge_rounds(
    rounds: Sequence[Measurement], *, wanted: int, made: int
) -> tuple[Verdict, tuple[str, ...]]:
    """Judge the rounds of one measurement together.

    Args:
        rounds: Those that count, at least one.
        wanted: Rounds that the protocol asks for.
        made: Rounds that were made, those that do not count among them.
    """
    if all(m.verdict == "rejected" for m in rounds):
        return "rejected", _merged(r for m in rounds for r in m.reasons)
    reasons: list[str] = []
    if made == 1:
        reasons.append(SINGLE_ROUND)
    elif len(rounds) < wanted:
        count = f"{len(rounds)} of {made} rounds {'is' if len(rounds) == 1 else 'are'} good"
        reasons.append(f"only {count}, {wanted} are wanted; {_AGAIN}")
    if len({m.protocol.get("rotation_bytes", 0) > 0 for m in rounds}) > 1:
        reasons.append(
            "some rounds were made cold by rotation and some by a flush, as memory allowed, which "
            f"may differ by 3 %; {_AGAIN}"
        )
    width = interval([m.samples_ns for m in rounds]).relative_width
    if width > WIDEST_INTERVAL:
        reasons.append(
            f"interval of {rounds[0].workload.name} {width:.0%} of the median, wider than "
            f"{WIDEST_INTERVAL:.0%}; {_CLOSE}"
        )
    reasons += _merged(r for m in rounds for r in m.reasons)
    return ("suspect" if reasons else "valid"), tuple(dict.fromkeys(reasons))


def _merged(reasons: Iterable[str]) -> tuple[str, ...]:
    """Reasons of several rounds; of those that differ in numbers alone the first, and how many."""
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(_NUMBER.sub("#", reason), []).append(reason)
    return tuple(
        found[0] if len(found) == 1 else f"{found[0]} (in {len(found)} rounds)"
        for found in alike.values()
    )
