"""A processor burner beside a real measurement: it is recorded, and no reason against anybody."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import latencies, small_shape
from phonelm_search.core.workload import decode, prefill
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import MeasureSettings, Profiler
from phonelm_search.store import Store

pytestmark = pytest.mark.xdist_group("clock")

SHAPE = small_shape(
    hidden_size=256, intermediate_size=768, num_attention_heads=4, num_key_value_heads=4,
    head_dim=64, vocab_size=2048,
)  # fmt: skip


@pytest.fixture
def burners() -> Iterator[None]:
    """One busy process for each core."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in os.sched_getaffinity(0)
    ]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("small_reference", "burners")
def test_a_burner_is_recorded_and_disturbs_all_alike(tmp_path: Path) -> None:
    settings = MeasureSettings(rounds=2, most_rounds=2, cache_factor=0, cold_factor=0)
    store = Store(tmp_path)
    profiler = Profiler(store, DeviceProfile(name="here"), settings=settings)
    found = latencies(profiler, SHAPE, [prefill(64), decode(64)])
    assert {(s.verdict, s.rounds) for s in found.values()} == {("valid", 2)}
    windows = [
        window
        for m in store.measurements(shape_ids=[SHAPE.shape_id])
        for window in m.disturbance["windows"]
    ]
    assert max(w["foreign_share"] for w in windows) > 0.1
