"""What a container allows: trees of cgroups as container engines make them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.work import cgroups, cores
from phonelm_search.work.cgroups import cpu_quota, held_up_us, memory_limit

GIB = 2**30
V2 = "31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 25 0:26 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 25 0:29 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
V1_GROUPS = "5:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:/\n0::/\n"


def tree(root: Path, mounts: str, groups: str, **files: str) -> Path:
    """A root folder with what a test writes; names of files have ``__`` for ``/``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_limits_nothing_is_bounded(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.high": "max\n"}
    root = tree(tmp_path, V2, "0::/\n", **files)
    assert (cpu_quota(root), memory_limit(root), held_up_us(root)) == (None, None, None)
    assert cpu_quota(tmp_path / "nowhere") is None


def test_the_tightest_of_all_levels_counts(tmp_path: Path) -> None:
    files = {
        "cpu.max": "max 100000\n",
        "pods/cpu.max": "50000 100000\n",
        "pods/cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 1250\n",
        "pods/one/cpu.max": "400000 100000\n",
        "pods/one/cpu.stat": "throttled_usec 250\n",
        "pods/one/memory.max": f"{8 * GIB}\n",
        "pods/one/memory.current": f"{GIB}\n",
        "pods/memory.max": f"{4 * GIB}\n",
        "pods/memory.current": f"{3 * GIB}\n",
        "pods/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB // 2}\n",
    }
    root = tree(tmp_path, V2, "0::/pods/one\n", **files)
    assert cpu_quota(root) == 0.5
    assert held_up_us(root) == 1500
    found = memory_limit(root)
    assert found
    assert (found.limit_bytes, found.available_bytes) == (4 * GIB, 4 * GIB - 3 * GIB // 2)


@pytest.mark.parametrize(
    ("mounted", "path", "below"),
    [
        ("/", "/docker/ab", "docker/ab/"),  # all of the hierarchy is shown
        ("/docker/ab", "/docker/ab", ""),  # its own cgroup alone, by its name outside
        ("/docker/ab", "/docker/ab/in", "in/"),
        ("/..", "/", ""),  # another namespace's
        ("/docker/ab", "/other", ""),
        (r"/a\040b", "/a b/c", "c/"),
    ],
)
def test_version_1_is_read_where_it_is_mounted(
    tmp_path: Path, mounted: str, path: str, below: str
) -> None:
    files = {
        f"cpu,cpuacct/{below}cpu.cfs_quota_us": "150000\n",
        f"cpu,cpuacct/{below}cpu.cfs_period_us": "100000\n",
        f"cpu,cpuacct/{below}cpu.stat": "nr_periods 1\nthrottled_time 7000000\n",
        f"memory/{below}memory.limit_in_bytes": f"{2 * GIB}\n",
        f"memory/{below}memory.usage_in_bytes": f"{GIB}\n",
        f"memory/{below}memory.stat": f"cache 1\ntotal_inactive_file {GIB // 2}\n",
    }
    root = tree(tmp_path, V1.format(root=mounted), V1_GROUPS.format(path=path), **files)
    assert cpu_quota(root) == 1.5
    assert held_up_us(root) == 7000
    found = memory_limit(root)
    assert found
    assert (found.limit_bytes, found.available_bytes) == (2 * GIB, 2 * GIB - GIB // 2)


def test_a_level_that_is_not_shown_is_told_by_the_kernel(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.stat": f"hierarchical_memory_limit {GIB}\n",
    }
    root = tree(tmp_path, V1.format(root="/"), V1_GROUPS.format(path="/"), **files)
    found = memory_limit(root)
    assert found
    assert found.limit_bytes == GIB


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("200000", 2.0),  # the period is the usual one
        ("200000 50000", 4.0),
        ("100000 0", 1.0),
        ("0 100000", None),
        ("-1 100000", None),
        ("max", None),
        ("1 1000000000", None),
        ("", None),
        ("a lot", None),
        ("1" * 30, None),
        ("\0\0", None),
    ],
)
def test_values_of_cpu_max(tmp_path: Path, text: str, quota: float | None) -> None:
    assert cpu_quota(tree(tmp_path, V2, "0::/\n", **{"cpu.max": text})) == quota


@pytest.mark.parametrize("text", ["max", "", "0", "-1", "9223372036854771712", "lots", "9" * 40])
def test_values_that_are_no_limit_of_memory(tmp_path: Path, text: str) -> None:
    assert memory_limit(tree(tmp_path, V2, "0::/\n", **{"memory.max": text})) is None


def test_what_is_used_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"memory.high": "1000\n", "memory.max": "2000\n", "memory.current": "5000\n"}
    found = memory_limit(tree(tmp_path, V2, "0::/\n", **files))
    assert found
    assert (found.limit_bytes, found.available_bytes) == (1000, 0)


@given(st.text(), st.text())
def test_whatever_a_kernel_tells_of_mounts_is_read(mounts: str, groups: str) -> None:
    line = f"1 2 0:3 {mounts} {groups} rw - cgroup2 {mounts}"
    for text in (mounts, line):
        cgroups._path(groups, frozenset(mounts.split(",")))
        cgroups._below(groups, cgroups._unescaped(text))


@pytest.mark.parametrize(
    ("quota", "threads"), [(None, 8), (0.5, 1), (1.9, 1), (1.96, 2), (2.0, 2), (64.0, 8)]
)
def test_threads_are_those_that_a_quota_pays_for(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, threads: int
) -> None:
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    monkeypatch.setattr(cores, "usable_cores", lambda: frozenset(range(8)))
    assert cores.usable_threads() == threads
    assert cores.tight_quota() == (None if quota in (None, 64.0) else quota)


def test_a_quota_is_said_as_one() -> None:
    assert cores.quota_in_words(0.5) == "this container may use 0.5 of a core"
    assert cores.quota_in_words(1.5) == "this container may use 1.5 cores"
