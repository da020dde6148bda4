"""A reason's text, and how reasons of several numbers stand together."""

from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import measurement
from phonelm_search.core.errors import MeasurementError, TransportError
from phonelm_search.core.judgement import judged_together, rejection
from phonelm_search.core.reason import Reason, in_one_line
from phonelm_search.core.records import Measurement

CLOSE = "close other programs"
TEMPLATES = (
    ("load", "other processes took {}%", CLOSE),
    ("cores", "the runner had only {}% of its cores' time", CLOSE),
    ("heat", "the round began at {} °C, above 40 °C", "move it to a cooler place"),
    ("samples", "only {} samples, fewer than 5", None),
)


@st.composite
def reason(draw: st.DrawFn) -> Reason:
    kind, what, remedy = draw(st.sampled_from(TEMPLATES))
    number, rounds = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    return Reason(kind=kind, what=what.format(number), remedy=remedy, rounds=rounds)


parts_of_reasons = st.lists(st.lists(reason(), max_size=4), min_size=1, max_size=4)


def suspect(reasons: Sequence[Reason]) -> Measurement:
    return measurement([1], verdict="suspect", reasons=tuple(reasons))


def sentences_together(parts: Sequence[Sequence[str]]) -> list[str]:
    """Sentences of several numbers, each once, and each advice once: by their words alone."""
    lines, advices = [], []
    for sentence in dict.fromkeys(chain.from_iterable(parts)):
        what, _, advice = sentence.partition("; ")
        lines.append(what if advice in advices else sentence)
        advices.append(advice)
    return lines


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "seen"),
        ({"remedy": "do this"}, "seen; do this"),
        ({"rounds": 2}, "seen (in 2 rounds)"),
        ({"remedy": "do this", "rounds": 3, "about": "a"}, "seen; do this (in 3 rounds)"),
    ],
)
def test_a_text_says_what_was_seen_what_to_do_and_in_how_many_rounds(
    fields: dict[str, object], text: str
) -> None:
    assert Reason(kind="k", what="seen", **fields).text == text  # type: ignore[arg-type]


@given(parts_of_reasons)
def test_reasons_together_read_as_their_sentences_do(parts: list[list[Reason]]) -> None:
    _, together = judged_together([suspect(p) for p in parts])
    assert [r.text for r in together] == sentences_together([[r.text for r in p] for p in parts])


@given(st.lists(parts_of_reasons, min_size=1, max_size=3))
def test_so_do_reasons_that_were_put_together_before(groups: list[list[list[Reason]]]) -> None:
    once = [judged_together([suspect(p) for p in parts])[1] for parts in groups]
    _, twice = judged_together([suspect(reasons) for reasons in once])
    sentences = [sentences_together([[r.text for r in p] for p in parts]) for parts in groups]
    assert [r.text for r in twice] == sentences_together(sentences)


def test_a_rejection_tells_the_reasons_of_what_is_rejected_alone() -> None:
    load = Reason(kind="load", what="others took 50%", remedy=CLOSE)
    cores = Reason(kind="cores", what="the runner had only 60%", remedy=CLOSE)
    few = Reason(kind="samples", what="only 4 samples")
    rejected = [measurement([1], verdict="rejected", reasons=(r,)) for r in (load, cores)]
    error = rejection([suspect([few]), *rejected])
    assert error is not None
    assert error.message == in_one_line([load]) + "; the runner had only 60%"
    assert (error.stage, error.transient) == ("rejected", True)
    assert rejection([suspect([few])]) is None


@pytest.mark.parametrize(
    "error",
    [MeasurementError("it broke (stage: load)", stage="run"), TransportError("it broke")],
)
def test_an_error_keeps_its_message_apart_from_its_stage(error: MeasurementError) -> None:
    assert str(error) == f"{error.message} (stage: {error.stage})"
    assert error.message.startswith("it broke")
