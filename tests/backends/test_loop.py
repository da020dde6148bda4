"""The timing loop under an injected clock, and the counters beside it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.backends import WarmupJob
from phonelm_search.backends.onnxruntime.loop import LoopSettings, Timed, settled, time_loop
from phonelm_search.backends.onnxruntime.watch import Watch, _whole, parse_stat


class Clock:
    """Stands still but for what runs advance it by."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def run_of(self, *durations_ns: int) -> Callable[[], None]:
        """A run that takes the given times in turn, the last one for ever."""
        left = list(durations_ns)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


class Blind:
    """An observer that sees nothing."""

    def __init__(self) -> None:
        self.cpu_ns: list[int] = []
        self.switches: list[int] = []
        self.windows: list[Any] = []

    def begin(self) -> None:
        self.cpu_ns.append(0)

    def end(self) -> None:
        self.switches.append(0)

    def close(self) -> None:
        pass


def loop(clock: Clock, *runs: Callable[[], None], before: Any = None, **changes: Any) -> Timed:
    base: dict[str, Any] = {
        "warmup": WarmupJob(window_seconds=0.0, tolerance=0.05, most=6),
        "repetitions": 8,
        "max_seconds": 1.0,
    }
    settings = LoopSettings(**{**base, **changes})
    return time_loop(runs, settings, clock, Blind, before=before)


def test_warm_up_ends_when_two_windows_agree() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(900, 500, 210, 205, 200))
    assert (found.warmup_ns, found.settled) == ([900, 500, 210, 205], True)
    assert found.samples_ns == [200] * 8


def test_a_window_is_as_long_as_wished() -> None:
    clock = Clock()
    warmup = WarmupJob(window_seconds=1e-6, tolerance=0.05, most=6)
    found = loop(clock, clock.run_of(300), warmup=warmup)
    assert len(found.warmup_ns) == 2 * 4  # four runs of 300 ns exceed a microsecond


def test_a_warm_up_that_never_settles_says_so_and_ends() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(*range(1000, 9000, 1000)))
    assert (len(found.warmup_ns), found.settled) == (6, False)
    assert found.samples_ns[0] == 7000


def test_two_windows_are_made_however_long_they_take() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(3 * 10**9))
    assert (found.warmup_ns, found.settled) == ([3 * 10**9] * 2, True)


def test_no_warm_up_is_settled() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(5), warmup=WarmupJob(window_seconds=0, tolerance=1, most=0))
    assert (found.warmup_ns, found.settled) == ([], True)


def test_copies_take_turns_and_windows_hold_whole_turns() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(100), clock.run_of(200), clock.run_of(300))
    assert found.warmup_ns == [100, 200, 300] * 2
    assert found.samples_ns == [100, 200, 300, 100, 200, 300, 100, 200]


def test_time_runs_out_but_three_samples_are_taken() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(10**9), repetitions=50)
    assert len(found.samples_ns) == 3
    assert len(loop(clock, clock.run_of(10**8), repetitions=50).samples_ns) == 11


def test_models_get_equally_many_samples_and_their_own() -> None:
    clock = Clock()
    runs = [clock.run_of(n) for n in (100, 200, 300, 101, 201, 301)]  # two copies of three models
    found = loop(clock, *runs, models=3, repetitions=4)
    assert [timed.samples_ns for timed in found.by_model(3)] == [
        [100, 101, 100, 101],
        [200, 201, 200, 201],
        [300, 301, 300, 301],
    ]
    assert found.by_model(3)[1].warmup_ns == [200, 201] * 2
    slow = loop(clock, clock.run_of(10**9), clock.run_of(10**8), models=2, repetitions=50)
    assert [len(timed.samples_ns) for timed in slow.by_model(2)] == [3, 3]


def test_models_of_different_speed_settle_by_themselves() -> None:
    clock = Clock()
    settling = (90, 50, 20, 20)  # the median of both models together says nothing of it
    found = loop(clock, *(clock.run_of(*(f * n for n in settling)) for f in (1, 100)), models=2)
    assert found.settled
    assert found.by_model(2)[0].warmup_ns == [90, 50, 20, 20]


def test_one_models_burst_does_not_keep_the_others_waiting() -> None:
    clock = Clock()
    runs = [clock.run_of(100), clock.run_of(200), clock.run_of(300, 900, 300)]
    found = loop(clock, *runs, models=3)
    assert (found.settled, len(found.by_model(3)[0].warmup_ns)) == (True, 2)


@pytest.mark.parametrize(
    ("before", "window", "expected"),
    [
        ([], [100], False),
        ([100], [96], True),
        ([100], [94], False),
        ([100], [106], False),
        ([0], [0], False),
    ],
)
def test_windows_agree_within_the_tolerance(
    before: list[int], window: list[int], expected: bool
) -> None:
    assert settled(before, window, models=1, tolerance=0.05) is expected


def test_what_happens_before_a_run_is_not_timed() -> None:
    clock = Clock()
    found = loop(clock, clock.run_of(7), before=clock.run_of(10**6))
    assert set(found.samples_ns) == {7}


STAT = """cpu  100 0 50 900 5 1 2 30 0 0
cpu0 60 0 20 400 3 1 1 10 0 0
cpu1 40 0 30 500 2 0 1 20 0 0
intr 5
"""


@pytest.mark.parametrize(
    ("cores", "expected"),
    [({0, 1}, (153, 30)), ({1}, (71, 20)), ({7}, None)],
)
def test_the_systems_clock_is_read_for_the_cores_in_use(
    cores: set[int], expected: tuple[int, int] | None
) -> None:
    assert parse_stat(STAT, frozenset(cores)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu0 1 2 3 4\n", (6, 0)),  # kernel 2.4
        ("cpu0 1 2 3 4 5 6 7\n", (19, 0)),
        ("cpu0 1 2 3 4 5 6 7 8 9 10 11 12 13\n", (19, 8)),
        ("cpu0 1 2 3 4 5 6 7 8", None),  # cut off: the last number may be longer
        ("cpu0\ncpu0 a b c d\ncpu0 1 2\n", None),
        (f"cpu0 {'9' * 5000} 2 3 4\n", None),
        ("cpu² 1 2 3 4\ncpu00000000 1 2 3 4\n\n", None),
        ("\0\0\0", None),
        ("", None),
        ("intr " + "0 " * 40_000 + "\ncpu0 1 2 3 4\n", (6, 0)),
    ],
)
def test_the_systems_clock_is_read_whatever_its_width(
    text: str, expected: tuple[int, int] | None
) -> None:
    assert parse_stat(text, frozenset({0})) == expected


@given(st.text())
def test_whatever_lies_in_place_of_the_systems_clock_is_read(text: str) -> None:
    parse_stat(text, frozenset({0}))


def test_the_systems_clock_of_many_cores_is_read_whole(tmp_path: Path) -> None:
    lines = "".join(f"cpu{n} 1000000 1 1000000 5 5 1 1 1 0 0\n" for n in range(4096))
    (tmp_path / "stat").write_text(lines + "intr 5\n")
    file = os.open(tmp_path / "stat", os.O_RDONLY)
    try:
        found = parse_stat(_whole(file).decode(), frozenset({4095}))
    finally:
        os.close(file)
    assert found == (2_000_003, 1)


def watched(samples: int) -> Watch:
    watch = Watch(frozenset(os.sched_getaffinity(0)))
    for _ in range(samples):
        watch.begin()
        sum(range(200_000))
        watch.end()
    watch.close()
    return watch


def test_a_watch_counts_what_the_process_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonelm_search.backends.onnxruntime.watch._WINDOW_NS", 0)
    watch = watched(3)
    assert len(watch.cpu_ns) == len(watch.switches) == 3
    assert all(c > 100_000 for c in watch.cpu_ns)
    if Path("/proc/stat").exists():
        assert sum(w.samples for w in watch.windows) == 3


def test_a_window_too_short_for_the_systems_clock_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phonelm_search.backends.onnxruntime.watch._WINDOW_NS", 10**12)
    watch = watched(3)
    assert (len(watch.cpu_ns), watch.windows) == (3, [])
