"""What this machine says of itself."""

from pathlib import Path
from typing import Any

import pytest

from contract import job
from phonelm_search.backends import get_runtime, host
from phonelm_search.backends.limits import check_memory
from phonelm_search.core.errors import MeasurementError
from phonelm_search.devices import DeviceProfile, local_cores
from phonelm_search.work import MemoryLimit

MIB = 2**20


@pytest.mark.parametrize(
    ("huge", "page_bytes", "expected"),
    [
        ("always [madvise] never", 4096, {}),
        ("always madvise [never]", 4096, {}),
        (None, None, {}),  # nothing is told
        ("[always] madvise never", 4096, {"huge_pages": "always"}),
        (None, 16384, {"page_bytes": "16384"}),
    ],
)
def test_pages_are_told_where_they_are_not_the_usual_ones(
    huge: str | None, page_bytes: int | None, expected: dict[str, str]
) -> None:
    assert host.pages(huge, page_bytes) == expected


def caches(root: Path, cores: int, *levels: tuple[str, int]) -> None:
    """Folders of caches, each level of a size and shared by so many cores."""
    for core in range(cores):
        for level, (size, sharing) in enumerate(levels, start=1):
            folder = root / f"cpu{core}/cache/index{level}"
            folder.mkdir(parents=True)
            first = core // sharing * sharing
            (folder / "size").write_text(f"{size}\n")
            (folder / "level").write_text(f"{level}\n")
            (folder / "shared_cpu_list").write_text(f"{first}-{first + sharing - 1}\n")


@pytest.mark.parametrize(
    ("cores", "levels", "mebibytes"),
    [
        (16, (("32K", 1), ("512K", 1), ("98304K", 2)), 768),  # EPYC 7373X: eight of 96 MiB
        (16, (("32K", 1), ("1M", 1), ("32M", 8)), 64),  # Ryzen 7950X
        (2, (("32K", 1), ("4096K", 1)), 32),  # a guest that is shown no third level
        (64, (("32K", 1), ("1024K", 1)), 64),
        (2, (("32K", 1), ("512K", 1), ("nonsense", 2)), 32),
        (2, (("", 1),), 32),
        (0, (), 32),  # no /sys
    ],
)
def test_all_last_level_caches_count_and_a_second_level_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    levels: tuple[tuple[str, int], ...],
    mebibytes: int,
) -> None:
    caches(tmp_path, cores, *levels)
    monkeypatch.setattr(host, "_CPU", tmp_path)
    monkeypatch.setattr(host, "usable_cores", lambda: frozenset(range(max(1, cores))))
    assert host.last_level_cache_bytes() == mebibytes * MIB


@pytest.mark.parametrize("content", [b"", b"\0" * 9, "²".encode(), b"\xff<off>", b"9" * 5000])
def test_files_of_the_kernel_that_hold_nonsense_tell_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "meminfo").write_bytes(content)
    for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
        for core in host.usable_cores():
            file = tmp_path / f"cpu{core}/cpufreq/{name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    monkeypatch.setattr(host, "_CPU", tmp_path)
    monkeypatch.setattr(host, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(host, "memory_limit", lambda: None)
    found = host.conditions()
    assert (found["frequency_khz"], found["available_bytes"]) == (None, None)
    monkeypatch.setattr("phonelm_search.devices.topology.CPU_FOLDER", str(tmp_path))
    assert {c.max_khz for c in local_cores()} == {None}


def test_memory_is_the_containers_where_that_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = MemoryLimit(limit_bytes=512_000_000, available_bytes=1_000_000)
    monkeypatch.setattr(host, "memory_limit", lambda: limit)
    assert host.available_bytes() == 1_000_000
    assert host.container_conditions()["memory_limit_bytes"] == 512_000_000
    message = r"1 MB are available; this container may use 512 MB: give it more .*, or use a"
    with pytest.raises(MeasurementError, match=message):
        check_memory(job(), host.available_bytes(), advice=host.memory_advice)
    roomy = MemoryLimit(limit_bytes=2**50, available_bytes=2**50)
    monkeypatch.setattr(host, "memory_limit", lambda: roomy)
    assert host.memory_advice() == "close programs"


@pytest.mark.parametrize(
    ("quota", "threads", "expected", "note"),
    [
        (None, "all", 8, None),
        (64.0, "all", 8, None),
        (
            0.5,
            "all",
            1,
            "this container may use 0.5 of a core: 1 thread will compute and will be",
        ),
        (2.0, "all", 2, "this container may use 2 cores: 2 threads will compute; give it more"),
        (2.0, 3, 3, "this container may use 2 cores: 3 threads will compute and will be held up;"),
        (2.0, 1, 1, None),
    ],
)
def test_a_containers_quota_bounds_the_threads_and_is_said(
    monkeypatch: pytest.MonkeyPatch, quota: float, threads: Any, expected: int, note: str | None
) -> None:
    monkeypatch.setattr("phonelm_search.work.cores.cpu_quota", lambda: quota)
    monkeypatch.setattr(host, "cpu_quota", lambda: quota)
    for module in ("work.cores", "devices.topology"):
        monkeypatch.setattr(f"phonelm_search.{module}.usable_cores", lambda: frozenset(range(8)))
    notes: list[str] = []
    profile = DeviceProfile(name="p", runtime="onnxruntime", threads=threads)
    runtime = get_runtime(profile, note=notes.append)
    assert runtime.placement().threads == expected
    assert [n[: len(note or "")] for n in notes] == ([note] if note else [])
    held_up = quota is not None and expected > quota
    assert ("quota_cores" in runtime.environment()) == held_up  # never mixed with others
