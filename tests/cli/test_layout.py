"""A table keeps its numbers, units and names in one piece, however narrow the terminal is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.cli import output
from phonelm_search.cli.layout import TextColumn, fill, lay_out

IDS = ("w1024-l24-f4864-h16-kv16-relu-503c33", "w128-l2-f256-h4-kv4-silu-b0336b")
PROSE = "suspect: only 2 samples, fewer than 3, and 12.3 ms apart (+1)"


def columns(extra: int = 0) -> list[TextColumn]:
    return [
        TextColumn(heading="shape", cells=IDS, numeric=False),
        TextColumn(heading="decoder parameters", cells=("82240", "1506848"), numeric=True),
        TextColumn(heading="95 %", cells=("0.98 to 1.01", "–"), numeric=False),
        TextColumn(heading="empty", cells=("–", "–"), numeric=False),
        *(TextColumn(heading=f"h{i}", cells=("1.234", "5"), numeric=True) for i in range(extra)),
        TextColumn(heading="verdict", cells=(PROSE, "valid"), numeric=False),
    ]


@given(st.integers(20, 200), st.integers(0, 8))
def test_no_number_is_broken_and_what_is_left_out_is_named(width: int, extra: int) -> None:
    given_columns = columns(extra)
    layout = lay_out(given_columns, [0, 1, 2], width)
    printed = "\n".join(layout.body)
    for column in given_columns:
        for cell in column.cells:
            if column.heading not in layout.hidden and cell not in ("–", PROSE):
                assert cell in printed
    longest = max(map(len, IDS))
    assert all(len(line) <= max(width, longest) and line == line.rstrip() for line in layout.body)
    words = re.sub(r"\s+", " ", printed)
    if "verdict" not in layout.hidden and not layout.head:
        assert PROSE in words
    if "verdict" not in layout.hidden:
        assert "12.3 ms" in printed


def test_what_matters_most_stays_longest() -> None:
    wide = lay_out(columns(8), [0, 1, 2], 200)
    assert wide.hidden == ()
    narrow = lay_out(columns(8), [0, 1, 2], 76)
    assert narrow.hidden == ("empty", *(f"h{i}" for i in range(2, 8)), "verdict")
    assert narrow.head[0].split() == ["shape", "decoder", "95", "%", "h0", "h1"]
    assert narrow.head[1].split() == ["parameters"]


def test_where_three_columns_have_no_room_rows_become_cards() -> None:
    cards = lay_out(columns(), [0, 1, 2], 40)
    assert cards.head == cards.hidden == ()
    assert cards.body == (
        IDS[0],
        "  decoder parameters  82240",
        "  95 %                0.98 to 1.01",
        "  verdict",
        "    suspect: only 2 samples, fewer than",
        "    3, and 12.3 ms apart (+1)",
        "",
        IDS[1],
        "  decoder parameters  1506848",
        "  verdict             valid",
    )


def test_a_pipe_has_a_line_for_each_row_and_no_blanks_at_its_end() -> None:
    layout = lay_out(columns(8), [0], None)
    assert len(layout.head) == 1
    assert len(layout.body) == 2
    assert PROSE in layout.body[0]
    assert all(line == line.rstrip() for line in (*layout.head, *layout.body))


def test_a_sentence_is_broken_between_words_and_a_command_is_not() -> None:
    command = "`phonelm-search plot mine.fake-phone --kind processes`"
    text = f"  it takes 12.3 ms (± 5 %) and 82 MB at tg @ d320, next: {command}"
    for width in (20, 40, 60):
        lines = fill(text, width).split("\n")
        assert " ".join(x.strip() for x in lines) == text.strip()
        for whole in ("12.3 ms", "± 5 %", "82 MB", "tg @ d320", command):
            assert any(whole in x for x in lines), (width, whole)
        assert all(len(x) <= width for x in lines if command not in x)
    assert fill(text, None) == text


@pytest.mark.parametrize("width", [None, 80])
def test_a_table_without_rows_is_its_head(width: int | None) -> None:
    layout = lay_out([TextColumn(heading="a", cells=(), numeric=False)] * 2, [], width)
    assert layout.head == ("a  a",)
    assert layout.body == ()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (81408768, "81,408,768"), (7, "7"), (1436.4, "1,436"), (999.96, "1,000"),
        (7.92111, "7.921"), (True, "yes"), (False, ""), (None, "–"), ("81408768", "81408768"),
    ],
)  # fmt: skip
def test_whole_numbers_have_their_thousands_apart(value: object, cell: str) -> None:
    assert output.text(value) == cell
