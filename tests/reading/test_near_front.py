"""Which shapes of a search are worth training: the front, then what is nearest to it."""

from types import SimpleNamespace
from typing import Any

from phonelm_search.reading.shortlist import near_front


def row(latency: float, loss: float) -> Any:
    """What the choice looks at."""
    return SimpleNamespace(
        shape=SimpleNamespace(shape_id=f"{latency}-{loss}"),
        latency=SimpleNamespace(value=latency), loss=SimpleNamespace(value=loss),
    )  # fmt: skip


def latencies(rows: list[Any]) -> list[float]:
    return [r.latency.value for r in rows]


def test_training_takes_the_front_and_near_front_spread_over_speed() -> None:
    first = [row(10 + i, 2 - i / 20) for i in range(20)]
    second = [row(30 + i, 3 - i / 20) for i in range(20)]  # dominated everywhere
    rows = [*second[::-1], *first]
    assert latencies(near_front(rows, 4)) == [10, 16, 23, 29]
    assert latencies(near_front(rows, 23)) == [*range(10, 30), 30, 40, 49]


def test_training_takes_no_more_than_there_is() -> None:
    rows = [row(2.0, 1.0), row(1.0, 1.1)]
    assert latencies(near_front(rows, 6)) == [1.0, 2.0]
    assert latencies(near_front(rows, 1)) == [1.0]
    assert near_front(rows, 0) == []
    assert near_front([], 3) == []
