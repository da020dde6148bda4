"""Where caches end, of curves of read bandwidth as machines have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.cache_probe import SMALLEST_BUFFER, CacheProbe, probe_sizes

MIB = 2**20
SIZES = probe_sizes(256 * MIB, None)
# Of one run on two cores of a shared EPYC with 32 MiB: 4 MiB to 1 GiB, each the best of seven.
EPYC = (
    39.6, 52.8, 53.0, 56.5, 61.6, 32.7, 21.3, 18.0, 15.9, 16.7, 17.7, 17.5, 19.3, 16.4, 17.7, 16.8,
    16.5,
)  # fmt: skip


def probe(*gb_per_s: float) -> CacheProbe:
    return CacheProbe(
        environment_id="e",
        buffer_bytes=SIZES[: len(gb_per_s)],
        bytes_per_s=tuple(1e9 * s for s in gb_per_s),
        created_at="",
    )


def curve(fast: int, *, cache: float = 60, memory: float = 16) -> CacheProbe:
    return probe(*[cache] * fast, *[memory] * (len(SIZES) - fast))


def test_sizes_go_from_what_any_cache_holds_to_far_beyond_what_is_told() -> None:
    assert SIZES[0] == SMALLEST_BUFFER
    assert SIZES[-1] == 2**30
    assert len(SIZES) == 17
    assert probe_sizes(4 * MIB, None)[-1] == 256 * MIB
    assert probe_sizes(4 * MIB, None, further=True)[-1] == 2**31
    assert 1.3 * 2**30 < probe_sizes(480 * MIB, None)[-1] <= 4 * 480 * MIB
    assert probe_sizes(32 * MIB, 2**30)[-1] <= 2**30 // 4


@given(st.integers(0, 2**36), st.one_of(st.none(), st.integers(0, 2**40)))
def test_sizes_rise_and_fit(told: int, available: int | None) -> None:
    sizes = probe_sizes(told, available)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[0] == SMALLEST_BUFFER
    assert available is None or sizes[-1] <= max(SMALLEST_BUFFER, available // 4)


@given(st.integers(1, len(SIZES) - 5))
def test_the_end_is_the_first_buffer_from_which_on_all_are_slow(fast: int) -> None:
    assert curve(fast).cold_bytes == SIZES[fast]


def test_a_dip_within_the_cache_is_not_its_end() -> None:
    assert probe(60, 60, 15, 60, *[16] * 13).cold_bytes == SIZES[4]


def test_the_end_on_a_shared_machine_lies_beyond_what_is_told() -> None:
    found = probe(*EPYC).cold_bytes
    assert found is not None
    assert 32 * MIB < found < 65 * MIB


@pytest.mark.parametrize(
    "found",
    [
        curve(0),
        curve(8, cache=18),
        curve(len(SIZES) - 2),
        probe(*[60 / (i + 1) for i in range(17)]),
        probe(60, 16),
        probe(),
    ],
    ids=["flat", "hardly faster", "cache to the end", "falls to the end", "too few", "none"],
)
def test_reads_that_do_not_tell_are_known(found: CacheProbe) -> None:
    assert found.cold_bytes is None
