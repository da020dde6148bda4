"""No text of others makes an internal error: every parser, on valid texts that were damaged."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import SEEDS, TARGETS, WORDS, allowed

_EXAMPLES = 50


def damaged(data: st.DataObject, seed: bytes) -> bytes:
    """A text after some of it was replaced, doubled or cut."""
    text = seed
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        word = data.draw(
            st.one_of(
                st.sampled_from(WORDS), st.binary(max_size=8),
                st.text(max_size=8).map(lambda t: t.encode("utf-8", "replace")),
                st.just(text[start:end] * 2), st.integers().map(lambda n: str(n).encode()),
            )
        )  # fmt: skip
        text = text[:start] + word + text[end:]
    return text


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_texts_are_values_or_errors_of_ours(name: str) -> None:
    slow: Any = [HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=slow)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        allowed(TARGETS[name], damaged(data, data.draw(st.sampled_from(SEEDS[name]))))

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_words_that_broke_parsers_are_met_at_every_key(name: str) -> None:
    for seed in SEEDS[name]:
        allowed(TARGETS[name], seed)
        for mark in (mark for mark in (b": ", b",", b"=", b" ") if mark in seed):
            head, _, tail = seed.partition(mark)
            for word in WORDS:
                allowed(TARGETS[name], head + mark + word + mark + tail)
