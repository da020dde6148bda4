"""How much a turn must stream."""

import pytest

from phonelm_search.measure import MeasureSettings

MIB = 2**20


@pytest.mark.parametrize(
    ("told", "cold", "turn"),
    [
        (32, None, 192),
        (32, 24, 192),  # a part of a shared cache now may be all of it tomorrow
        (96, 64, 256),
        (480, 360, 720),  # in place of 2880
        (4, 512, 1024),  # a guest that shows the second level alone
        (480, 24, 256),
    ],
)
def test_reading_decides_where_what_is_told_is_dear(told: int, cold: int | None, turn: int) -> None:
    found = MeasureSettings().turn_bytes(told * MIB, None if cold is None else cold * MIB)
    assert found == turn * MIB
