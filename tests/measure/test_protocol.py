"""The whole protocol on this machine, at its own pace and in any company."""

from pathlib import Path

import pytest

from helpers import WORKLOADS, latencies, small_shape
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import REFERENCE, MeasureSettings, Profiler
from phonelm_search.store import Store

pytestmark = pytest.mark.xdist_group("clock")


def test_a_measurement_is_rounds_with_controls_beside_the_reference(tmp_path: Path) -> None:
    store, device, settings = Store(tmp_path), DeviceProfile(name="here"), MeasureSettings()
    summaries = latencies(Profiler(store, device), small_shape(), WORKLOADS)
    kept = store.measurements(shape_ids=[small_shape().shape_id])
    readings = store.measurements(shape_ids=[REFERENCE.shape_id])
    for workload in WORKLOADS:
        rounds = [m for m in kept if m.workload == workload and not m.is_control]
        assert settings.rounds <= len(rounds) <= settings.most_rounds
        assert [m.round for m in rounds] == list(range(len(rounds)))
        assert {m.cache_mode for m in rounds} == {device.cache_mode(workload)}
        for m in rounds:
            assert 3 <= len(m.samples_ns) <= settings.repetitions
            assert m.protocol["max_seconds"] == settings.max_seconds
            assert m.paired_ns is not None
            assert (m.bandwidth_bytes_per_s or 0) > 0
        # Each process has a reading of the reference.
        beside = [m for m in readings if m.workload == workload and not m.is_control]
        assert {m.process for m in beside} == {m.process for m in rounds}
        assert summaries[workload].ci_low_ms <= summaries[workload].latency_ms
        assert summaries[workload].latency_ms <= summaries[workload].ci_high_ms
    assert {m.cache_mode for m in readings if m.is_control} == {"one-copy", "tiny"}
