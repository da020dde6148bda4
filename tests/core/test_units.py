"""Units in and out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core import units


@pytest.mark.parametrize(
    ("text", "value"),
    [("85M", 85_000_000), ("1.5B", 1_500_000_000), ("512k", 512_000), ("7", 7), (42, 42)],
)
def test_counts_are_parsed(text: str | int, value: int) -> None:
    assert units.parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("80MB", 80_000_000), ("32kB", 32_000), ("2GB", 2_000_000_000), ("5B", 5), (9, 9)],
)
def test_bytes_are_parsed(text: str | int, value: int) -> None:
    assert units.parse_bytes(text) == value


def test_shares_are_parsed() -> None:
    assert units.parse_fraction("5%") == units.parse_fraction(0.05) == 0.05


@pytest.mark.parametrize("text", ["", "M", "-5", "1e9", "5 apples", "80MBB", True])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        units.parse_count(text)
    with pytest.raises(ValueError, match="must be a number"):
        units.parse_bytes(text)


@pytest.mark.parametrize("text", ["120%", "-1", "five"])
def test_what_is_no_share_is_refused(text: str) -> None:
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
