"""Documents cut into pieces."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.train.pieces import at_blank_lines, ways_to_cut

DOCUMENTS = st.lists(st.text("ab \t\n", min_size=1, max_size=30), min_size=1, max_size=60)


def paragraphs(parts: list[str]) -> list[str]:
    found = [p for part in parts for p in re.split(r"\n[ \t]*\n", part)]
    return [p.strip() for p in found if p.strip()]


@settings(max_examples=30, deadline=None)
@given(DOCUMENTS)
def test_pieces_lose_no_paragraph(documents: list[str]) -> None:
    assert paragraphs(at_blank_lines(documents)) == paragraphs(documents)


@settings(max_examples=30, deadline=None)
@given(DOCUMENTS)
def test_no_way_to_cut_loses_a_letter(documents: list[str]) -> None:
    letters = "".join("".join(documents).split())
    for _, pieces in ways_to_cut(documents):
        assert "".join("".join(pieces).split()) == letters
        assert all(p.strip() for p in pieces)


def test_a_text_is_cut_into_48_of_one_size() -> None:
    text = "".join(f"{i:09d}\n" for i in range(4800))
    *_, line_ends, spaces, anywhere = [pieces for _, pieces in ways_to_cut([text])]
    for pieces in (line_ends, spaces, anywhere):
        assert "".join(pieces) == text
        assert 47 <= len(pieces) <= 49
        assert max(map(len, pieces)) <= 1010


def test_paragraphs_are_joined_as_they_were() -> None:
    parts = [f"{i} {'x' * 50}" for i in range(500)]
    pieces = at_blank_lines(["\n\n".join(parts)])
    assert "\n\n".join(pieces) == "\n\n".join(parts)
    assert len(pieces) in (46, 47, 48)
