"""Which shapes of a search are worth training: the front, then what is nearest to it."""

from types import SimpleNamespace
from typing import Any

from phonelm_search.reading.shortlist import near_front
from phonelm_search.reading.table import Table


def row(latency: float, loss: float) -> Any:
    """What the choice looks at."""
    return SimpleNamespace(
        shape=SimpleNamespace(shape_id=f"{latency}-{loss}"), name=None, kind="measured",
        device="d", peak_bytes=None, score=None, latency=(latency,) * 3, loss=(loss,) * 3,
    )  # fmt: skip


def chosen(rows: list[Any], count: int) -> list[float]:
    found: list[float] = near_front(Table.of(rows), count).latency[:, 0].tolist()
    return found


def test_training_takes_the_front_and_near_front_spread_over_speed() -> None:
    first = [row(10 + i, 2 - i / 20) for i in range(20)]
    second = [row(30 + i, 3 - i / 20) for i in range(20)]  # dominated everywhere
    rows = [*second[::-1], *first]
    assert chosen(rows, 4) == [10, 16, 23, 29]
    assert chosen(rows, 23) == [*range(10, 30), 30, 40, 49]


def test_training_takes_no_more_than_there_is() -> None:
    rows = [row(2.0, 1.0), row(1.0, 1.1)]
    assert chosen(rows, 6) == [1.0, 2.0]
    assert chosen(rows, 1) == [1.0]
    assert chosen(rows, 0) == []
    assert chosen([], 3) == []
