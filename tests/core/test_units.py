"""Units in and out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core import units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85M", 85_000_000),
        ("1.5B", 1_500_000_000),
        ("512k", 512_000),
        ("7", 7),
        (42, 42),
        ("6e5", 600_000),
        ("1_000", 1_000),
        ("1.5e+6", 1_500_000),
        (6e5, 600_000),
        ("1e9", 10**9),
    ],
)
def test_counts_are_parsed(text: str | int, value: int) -> None:
    assert units.parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80MB", 80_000_000),
        ("32kB", 32_000),
        ("2GB", 2_000_000_000),
        ("5B", 5),
        (9, 9),
        (1.5e8, 150_000_000),
        ("1e9", 10**9),
    ],
)
def test_bytes_are_parsed(text: str | int, value: int) -> None:
    assert units.parse_bytes(text) == value


def test_shares_are_parsed() -> None:
    assert units.parse_fraction("5%") == units.parse_fraction(0.05) == 0.05


@pytest.mark.parametrize(
    "text", ["", "M", "-5", "1e-9", "e9", "1__0", "5 apples", "80MBB", True, [1], None]
)
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        units.parse_count(text)
    with pytest.raises(ValueError, match="must be a number"):
        units.parse_bytes(text)


@pytest.mark.parametrize("number", [2**63, 10**400, float("inf"), float("nan"), "1e19", "9" * 26])
def test_a_quantity_fits_64_bits(number: Any) -> None:
    for parse in (units.parse_count, units.parse_bytes):
        with pytest.raises(ValueError, match="must be less than 2\\^63, got ") as caught:
            parse(number)
        assert len(str(caught.value)) < 150


@given(st.integers(0, 2**63 - 1))
def test_an_integer_keeps_its_last_digit(value: int) -> None:
    assert units.parse_count(str(value)) == units.parse_count(value) == value


@pytest.mark.parametrize("text", ["120%", "-1", "five", float("nan"), [1], None])
def test_what_is_no_share_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="a share must"):
        units.parse_fraction(text)


@given(st.integers(1, 10**12))
def test_rendered_counts_parse_back_to_three_digits(value: int) -> None:
    text = units.format_count(value)
    if "e" not in text:
        assert units.parse_count(text) == pytest.approx(value, rel=0.006)


def test_rendering() -> None:
    assert units.format_count(85_000_000) == "85M"
    assert units.format_bytes(None) == "–"
    assert units.format_bytes(80_000_000) == "80 MB"
    assert units.format_ms(123.456) == "123"
    assert units.format_ms(1.2345) == "1.23"
    assert [units.format_seconds(s) for s in (42, 185, 7800)] == [
        "42 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 shapes"), (1, "1 shape"), (2, "2 shapes"), (12345, "12,345 shapes")]
)
def test_what_is_counted_stands_in_its_number(count: int, text: str) -> None:
    assert units.format_counted(count, "shape") == text


def test_some_names_and_how_many_more() -> None:
    assert units.format_some([], 2) == ""
    assert units.format_some(["a", "b"], 2) == "a, b"
    assert units.format_some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert units.format_some(["a", "b"], 2, total=9) == "a, b and 7 more"
    assert units.format_some(["a"], 2, total=1) == "a"
