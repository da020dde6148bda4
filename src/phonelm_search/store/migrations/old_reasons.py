"""Reasons as schema 4 and earlier stored them, in one sentence, as fields of a `Reason`.

What stands here is frozen: it reads sentences of old releases, whatever today's say.
"""

import re
from typing import Any

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_BYTES = rf"{_NUMBER} [kMG]?B"
_IN_ROUNDS = re.compile(r"(.*) \(in ([2-9]|[1-9][0-9]+) rounds\)", re.DOTALL)
_COOLER = "let the device cool down, or fix its governor"
_AGAIN = "measure again (`search` or `profile` with --remeasure)"
_CLOSE = f"close other programs and {_AGAIN}"
_QUIETER = "measure at a quieter time"
_SMALLER = "close programs or use a smaller precision"
_WAITED = rf"after {_NUMBER} s of waiting"
_LIKE_OTHERS = (
    rf"phone (?P<about>.+) is {_NUMBER}% {{}} than the others by the reference shape, more than "
    rf"{_NUMBER}%: two of a kind are not alike"
)

_WORDINGS: tuple[tuple[str, str, str | None], ...] = (
    ("clock", r"a sample is not positive: the device's clock cannot be trusted", None),
    (
        "drift-slower",
        rf"the reference shape was {_NUMBER}% slower than usual, more than {_NUMBER}%",
        "wait until the machine is quiet",
    ),
    (
        "drift-faster",
        rf"the reference shape was {_NUMBER}% faster than usual, more than {_NUMBER}%",
        "the machine's speed changes; fix its frequency",
    ),
    (
        "bandwidth",
        rf"the read bandwidth was {_NUMBER}% off the usual, more than {_NUMBER}%: cores were moved "
        r"or memory is in use elsewhere",
        _QUIETER,
    ),
    ("few-samples", rf"only {_NUMBER} samples, fewer than {_NUMBER}", None),
    ("unsettled", r"the warm-up did not settle: the machine's speed changes", None),
    (
        "small-rotation",
        rf"copies stream {_BYTES}, less than {_NUMBER} times the cache of {_BYTES}",
        None,
    ),
    (
        "other-processes",
        rf"other processes took {_NUMBER}% of the processor, more than {_NUMBER}%",
        _CLOSE,
    ),
    (
        "other-guests",
        rf"other guests of this host took {_NUMBER}% of the processor, more than {_NUMBER}%",
        _QUIETER,
    ),
    ("taken-cores", rf"the runner had only {_NUMBER}% of its cores' time", _CLOSE),
    (
        "frequency-fell",
        rf"the processor's frequency fell from {_NUMBER} to {_NUMBER} GHz",
        _COOLER,
    ),
    (
        "limits-fell",
        rf"the device throttled: its cores' highest frequencies fell by {_NUMBER}%",
        _COOLER,
    ),
    (
        "thermal-status-rose",
        rf"the device throttled: its thermal status rose from {_NUMBER} to {_NUMBER}",
        _COOLER,
    ),
    ("temperature-rose", rf"the temperature rose from {_NUMBER} to {_NUMBER} °C", _COOLER),
    ("swapped-pages", rf"{_NUMBER} pages were swapped", _SMALLER),
    (
        "major-faults",
        rf"{_NUMBER} of the runner's pages came back from swap or storage",
        _SMALLER,
    ),
    (
        "thermal-status-at-start",
        rf"the device throttled from the start: its thermal status was {_NUMBER}, {_WAITED}",
        _COOLER,
    ),
    (
        "limits-at-start",
        rf"the cores' highest frequencies were held at {_NUMBER}% of the full ones",
        f"switch off battery saver and the like, or {_COOLER}",
    ),
    (
        "hot-start",
        rf"the round began at {_NUMBER} °C, above {_NUMBER} °C, {_WAITED}",
        "move the phone to a cooler place, or raise thermal.longest_cooldown_s",
    ),
    ("single-round", r"single round", None),
    (
        "few-rounds",
        rf"only {_NUMBER} of {_NUMBER} rounds (?:is|are) good, {_NUMBER} are wanted",
        _AGAIN,
    ),
    (
        "cold-in-two-ways",
        r"some rounds were made cold by rotation and some by a flush, as memory allowed, which may "
        r"differ by 3 %",
        _AGAIN,
    ),
    (
        "wide-interval",
        rf"interval of .+ {_NUMBER}% of the median, wider than {_NUMBER}%",
        _CLOSE,
    ),
    ("phone-slower", _LIKE_OTHERS.format("slower"), "measure on one of them"),
    ("phone-faster", _LIKE_OTHERS.format("faster"), "measure on one of them"),
    (
        "wide-estimate",
        rf"the estimate's interval is {_NUMBER}% of it, wider than {_NUMBER}%",
        "measure the shape whole",
    ),
)
"""(kind, what as a pattern, remedy) of every reason that release 0.1.0 gave."""


def reason_of(text: str) -> dict[str, Any]:
    """Fields of the `Reason` whose text this is.

    A wording that is not known gets a kind of its own, made from its words without the numbers,
    so that those that differ in numbers alone stay of one kind.
    """
    several = _IN_ROUNDS.fullmatch(text)
    sentence, rounds = (several[1], int(several[2])) if several else (text, 1)
    what, divided, rest = sentence.partition("; ")
    remedy = rest if divided else None
    kind, about = _known(what, remedy) or (_slug(sentence), None)
    return {"kind": kind, "what": what, "remedy": remedy, "about": about, "rounds": rounds}


def _known(what: str, remedy: str | None) -> tuple[str, str | None] | None:
    """Kind, and which one it is about; a reason that repeats a remedy stands without it."""
    for kind, pattern, advice in _WORDINGS:
        match = re.fullmatch(pattern, what)
        if match and remedy in (None, advice):
            return kind, match.groupdict().get("about")
    return None


def _slug(sentence: str) -> str:
    words = re.sub(r"[0-9]+(\.[0-9]+)?", "#", sentence)
    return re.sub(r"[^a-z#]+", "-", words.lower()).strip("-") or "unknown"
