"""Cores by what a kernel tells, and the ones that a profile asks for."""

import os
from dataclasses import replace

import pytest

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.devices import Core, choose_cores, clusters, local_cores, parse_core
from phonelm_search.measure import Tried, choices
from phonelm_search.measure.placement_sweep import _order


def cores(*groups: tuple[int, int | None, int | None]) -> tuple[Core, ...]:
    """Groups of (count, capacity, kHz), numbered through."""
    found = []
    for count, capacity, khz in groups:
        found += [Core(number=len(found) + i, capacity=capacity, max_khz=khz) for i in range(count)]
    return tuple(found)


# Four small, three middle, one large core; capacities as its kernel tells them.
PHONE = cores((4, 250, 1_800_000), (3, 760, 2_400_000), (1, 1024, 2_900_000))


def test_big_is_half_of_the_largest_capacity() -> None:
    assert choose_cores(PHONE, "big", device="p") == (4, 5, 6, 7)
    assert choose_cores(PHONE, "all", device="p") == tuple(range(8))
    assert choose_cores(PHONE, (7, 4), device="p") == (4, 7)
    exactly_half = cores((2, 512, None), (2, 1024, None))
    assert choose_cores(exactly_half, "big", device="p") == (0, 1, 2, 3)


def test_without_capacities_all_but_the_slowest_group_are_big() -> None:
    untold = tuple(replace(c, capacity=None) for c in PHONE)
    assert choose_cores(untold, "big", device="p") == (4, 5, 6, 7)
    alike = cores((8, None, 2_000_000))
    assert choose_cores(alike, "big", device="p") == tuple(range(8))
    nothing = cores((4, None, None))
    assert choose_cores(nothing, "big", device="p") == (0, 1, 2, 3)


def test_cores_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cores of p must be among 0, 1.* got 8, 9"):
        choose_cores(PHONE, (1, 9, 8), device="p")


def test_clusters_begin_with_the_fastest() -> None:
    assert clusters(PHONE) == [(7,), (4, 5, 6), (0, 1, 2, 3)]
    assert clusters(cores((2, None, None))) == [(0, 1)]


def test_folders_that_are_no_cores_are_left_out() -> None:
    assert parse_core("cpufreq", "1024", "1") is None
    assert parse_core("cpu12", "1024\n", "-") == Core(number=12, capacity=1024, max_khz=None)


def test_this_machines_cores_are_those_that_we_may_use() -> None:
    assert {c.number for c in local_cores()} == os.sched_getaffinity(0)


def test_every_cluster_is_tried_with_all_faster_ones() -> None:
    assert list(choices(PHONE)) == [
        ((7,), 1),
        ((4, 5, 6, 7), 1),
        ((4, 5, 6, 7), 2),
        ((4, 5, 6, 7), 4),
        (tuple(range(8)), 1),
        (tuple(range(8)), 2),
        (tuple(range(8)), 4),
        (tuple(range(8)), 8),
    ]
    assert [t for _, t in choices(cores((3, None, None)))] == [1, 2, 3]


def tried(threads: int, ms: float, verdict: str = "valid") -> Tried:
    return Tried(
        cores=(0,),
        threads=threads,
        prefill_ms=ms,
        decode_ms=ms,
        end_to_end_ms=ms,
        verdict=verdict,  # type: ignore[arg-type]
    )


def test_of_choices_that_are_as_fast_the_one_of_fewest_threads_comes_first() -> None:
    found = [tried(1, 200), tried(2, 101), tried(4, 100), tried(8, 140)]
    assert [t.threads for t in sorted(found, key=_order(found))] == [2, 4, 8, 1]


def test_a_disturbed_choice_comes_last_however_fast() -> None:
    found = [tried(1, 200), tried(2, 10, "rejected"), tried(4, 150, "suspect")]
    assert [t.threads for t in sorted(found, key=_order(found))] == [4, 1, 2]
