"""What reading buffers says of the cache decides how much a turn of cold decode streams."""

from pathlib import Path

from helpers import WORKLOADS, fake_device, latencies, small_shape
from phonelm_search.backends import Files, Job, Result
from phonelm_search.core.errors import MeasurementError
from phonelm_search.measure import REFERENCE, Profiler
from phonelm_search.store import Store
from recorder import Recorder, profiler_with


class Cached(Recorder):
    """Its kernel tells of no cache but its own 2 MiB, and reads up to 45 MiB are fast."""

    def run(self, job: Job, files: Files) -> Result:
        result = super().run(job, files)
        read = tuple((60e9 if b < 50e6 else 16e9,) * 3 for b in job.bandwidth_bytes)
        return result.model_copy(update={"bandwidth_bytes_per_s": read})


def test_turns_stream_twice_what_is_read_at_the_speed_of_memory(tmp_path: Path) -> None:
    runtime, store = Cached(), Store(tmp_path)
    shape = small_shape(hidden_size=256, vocab_size=4096)
    profiler = profiler_with(store, runtime)
    latencies(profiler, shape, WORKLOADS)
    probe = store.cache_probe(profiler.environment_id)
    assert probe is not None
    assert probe.cold_bytes == 64 * 2**20
    cold = runtime.jobs[0]
    streamed = sum(s.weight_bytes(fake_device().scheme).streamed for s in (shape, REFERENCE))
    assert cold.cache.copies * streamed >= 2 * 64 * 2**20 > (cold.cache.copies - 1) * streamed
    assert runtime.order.count("probe") == 1

    again = Cached()
    latencies(profiler_with(store, again), small_shape(num_hidden_layers=4), WORKLOADS)
    assert "probe" not in again.order
    latencies(profiler_with(Store(tmp_path / "warm"), again, cache="warm"), shape, WORKLOADS)
    assert "probe" not in again.order


def test_a_probe_that_fails_leaves_what_is_told(tmp_path: Path) -> None:
    class Unreadable(Recorder):
        def run(self, job: Job, files: Files) -> Result:
            if len(job.bandwidth_bytes) > 1:
                raise MeasurementError("no memory", stage="memory")
            return super().run(job, files)

    notes: list[str] = []
    runtime, store = Unreadable(), Store(tmp_path)
    profiler = Profiler(store, fake_device(), runtimes=[runtime], note=notes.append)
    latencies(profiler, small_shape(), WORKLOADS)
    assert notes == [
        "the cache could not be probed (no memory (stage: memory)); what is told is taken"
    ]
    assert store.cache_probe(profiler.environment_id) is None
    assert len(runtime.jobs) == 3
