"""Names that somebody else gave reach a terminal, a spreadsheet and Markdown as text alone."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.printable import markdown_cell, markdown_text, spreadsheet_text, visible
from phonelm_search.core.tables import to_csv

LETTERS = "a=+-@ \t\r\n|`\\<*$[]()'\x1b\x00\x7f\x9b\x85\u2028\u202eé×\ud800"
ODD = st.text(st.sampled_from(LETTERS), max_size=12)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("base [ours] [/v2]", "base [ours] [/v2]"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcba\u2028", "abc\\u202edcba\\u2028"),
        ("half \ud800", "half \\ud800"),
        ("naïve 北京 👩‍💻 ×–", "naïve 北京 👩‍💻 ×–"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ODD)
def test_text_is_one_line_without_controls(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
    assert visible(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"]
)
def test_a_name_is_no_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(to_csv([{text: text}]).split("\n", 1)[1]))
    assert row == [spreadsheet_text(text)]
    assert row[0].startswith("'")


@pytest.mark.parametrize("text", ["-3.2 %", "+1.5%", "-4", "-1e-3 ms", "base [ours]"])
def test_a_number_with_its_unit_stays(text: str) -> None:
    assert spreadsheet_text(text) == text


@given(st.lists(ODD, min_size=1, max_size=4))
def test_a_row_of_csv_stays_a_row(texts: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(to_csv([{"a": t, "b": 1.5} for t in texts]), newline="")))
    assert [r[0] for r in rows[1:]] == list(map(spreadsheet_text, texts))
    assert all(len(r) == 2 and "\x1b" not in r[0] for r in rows)
    assert not any(r[0].startswith(("=", "@", "\t", "\r")) for r in rows)


@given(ODD)
def test_markdown_ends_no_cell_and_opens_no_code(text: str) -> None:
    for shown in (markdown_cell(text), markdown_text(text)):
        plain = re.sub(r"\\.", " ", shown)
        assert "\n" not in shown
        assert not set(plain) & set("|<*$")
        assert "](" not in plain
        assert plain.count("`") % 2 == 0


def test_commands_in_a_sentence_stay_code() -> None:
    assert markdown_text("run `phonelm-search score x`") == "run `phonelm-search score x`"
    assert markdown_cell("a`b|c") == "a\\`b\\|c"
