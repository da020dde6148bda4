"""Shapes, stores and studies that several tests need."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Measurement, ProxyScore, StudyRecord, StudyShape
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload, prefill
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import REFERENCE, MeasureSettings, Profiler, Request
from phonelm_search.reading import StudyView, load_view
from phonelm_search.space import load_space
from phonelm_search.store import Store, open_optuna_storage
from phonelm_search.train import load_text
from phonelm_search.train.text import Text

REFERENCE_MS = 10.0
"""End to end of the reference shape in `study`."""
DOUBT = Reason(kind="few-samples", what="only 2 samples, fewer than 3")
SCENARIO = Scenario(name="chat", prompt_tokens=16, generated_tokens=8)
REFERENCE_MODULES = (
    "measure.executor", "measure.profiler", "measure.summary", "reading.baseline",
    "reading.pooled", "reading.view", "speed.costs", "stages.measure",
    "stages.new_phone",
)  # fmt: skip
"""Which know `measure.REFERENCE`."""
QUICK = MeasureSettings(
    rounds=1, most_rounds=1, repetitions=5, max_seconds=0.05, warmup_window_seconds=0.0,
    cache_factor=0, cold_factor=0,
)  # fmt: skip
"""One short round, whatever else the machine does; nothing is cold."""


class Told:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, title: str, total: float) -> None:
        self.stages.append(title)

    def advance(self, amount: float, detail: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def small_shape(**changes: Any) -> ModelShape:
    base: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 320,
    }
    return ModelShape(**{**base, **changes})


SMALL_REFERENCE = small_shape(
    hidden_size=128, head_dim=32, intermediate_size=256, hidden_act="relu"
)


def fake_device(**changes: Any) -> DeviceProfile:
    return DeviceProfile(**{"name": "fake-phone", "runtime": "fake", "threads": 2, **changes})


def fake_profiler(store: Store, **changes: Any) -> Profiler:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Profiler(store, fake_device(**changes), clock=lambda: moment)


def latencies(
    profiler: Profiler, shape: ModelShape, workloads: Sequence[Workload], *, remeasure: bool = False
) -> Mapping[Workload, LatencySummary]:
    """Latency of each workload of one shape; a failure is raised."""
    request = Request(shape=shape, workloads=tuple(workloads))
    (outcome,) = profiler.measure([request], remeasure=remeasure)
    if outcome.error is not None:
        raise outcome.error
    return outcome.latencies


def measurement(samples_ns: list[int], **changes: Any) -> Measurement:
    """A measurement; those of a round share its process unless told otherwise."""
    base: dict[str, Any] = {
        "shape_id": small_shape().shape_id,
        "device": "d",
        "precision": "int4-b32",
        "workload": prefill(16),
        "cache_mode": "cold",
        "copies": 1,
        "weights_source": "memory",
        "environment": {"soc": "x"},
        "graph_version": GRAPH_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "round": 0,
        "warmup_ns": (9,),
        "samples_ns": tuple(samples_ns),
        "peak_bytes": None,
        "verdict": "valid",
        "reasons": (),
        "notes": (),
        "conditions": {"before": {}, "after": {}},
        "package_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
        "process": f"process {changes.get('round', 0)}",
        "place": 0,
        "paired_ns": float(np.median(samples_ns)),
    }
    return Measurement(**{**base, **changes})


def score(shape: ModelShape, bits_per_byte: float | None, **changes: Any) -> ProxyScore:
    """A score whose chunks scatter in the same way for every shape, as paired ones do."""
    text_bytes = np.full(64, 500)
    wobble = np.random.default_rng(0).normal(0, 0.2, 64)
    wobble -= wobble.mean()
    bits = () if bits_per_byte is None else tuple(((bits_per_byte + wobble) * text_bytes).tolist())
    base: dict[str, Any] = {
        "shape_id": shape.shape_id,
        "settings_id": "s",
        "settings": {},
        "trained": shape.as_dict(),
        "miniature": False,
        "notes": (),
        "seed": 0,
        "tokens": 1000,
        "tokens_per_parameter": 4.0,
        "bits_per_byte": bits_per_byte,
        "chunk_bits": bits,
        "chunk_bytes": tuple(text_bytes.tolist()) if bits else (),
        "curve": ((500, 3.0), (1000, 2.5)),
        "seconds": 1.0,
        "reason": None if bits else "training diverged",
        "package_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return ProxyScore(**{**base, **changes})


def study_record(device: DeviceProfile, environment: dict[str, str]) -> StudyRecord:
    """A study called so, of `SCENARIO`, scored with settings ``s``."""
    return StudyRecord(
        name="study",
        config={
            "space": load_space("tiny").model_dump(mode="json"),
            "device": device.model_dump(mode="json"),
            "scenario": str(SCENARIO),
            "objectives": ["latency"],
            "score": {"settings_id": "s"},
            "versions": {"graph": GRAPH_VERSION, "protocol": PROTOCOL_VERSION},
        },
        environment_id=measurement([1], environment=environment).environment_id,
        environment=environment,
    )


def trials_of(store: Store, study: str) -> list[FrozenTrial]:
    """All trials of a study, in order."""
    storage = open_optuna_storage(store)
    return optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)


def outlives(pid: int, *, seconds: float = 5.0) -> bool:
    """Whether a process is still there after a while; it is ended then."""
    for _ in range(round(seconds / 0.05)):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return False
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return True


def study(
    folder: Path,
    points: list[tuple[float, float | None]],
    *,
    verdict: str = "valid",
    shapes: Sequence[ModelShape] = (),
    url: str | None = None,
    **scores: Any,
) -> tuple[Store, StudyView]:
    """A stored study of shapes with given end-to-end milliseconds and bits per byte.

    Its space's reference was not measured, so that latencies are shares of the reference shape's.
    """
    store = Store(folder, url=url)
    device = fake_device()
    environment = {"soc": "x"}
    record = study_record(device, environment)
    store.save_study(record)
    chosen = [
        shapes[i] if shapes else small_shape(num_hidden_layers=i + 1) for i in range(len(points))
    ]
    times = [REFERENCE_MS, *(ms for ms, _ in points)]
    for i, (shape, latency_ms) in enumerate(zip((REFERENCE, *chosen), times, strict=True)):
        doubted = verdict != "valid" and shape != REFERENCE
        # Prefill takes 1 ms, the seven decode steps the rest.
        step_ns = round((latency_ms - 1) / (SCENARIO.generated_tokens - 1) * 1e6)
        works = zip(SCENARIO.workloads, (10**6, step_ns), strict=True)
        rounds = [
            measurement(
                [ns] * 9,
                round=number,
                place=(i + number) % len(times),
                cache_mode=device.cache_mode(workload),
                shape_id=shape.shape_id,
                workload=workload,
                device=device.name,
                environment=environment,
                verdict=verdict if doubted else "valid",
                reasons=(DOUBT,) if doubted else (),
            )
            for (workload, ns), number in product(works, range(3 if verdict == "valid" else 1))
        ]
        store.add_measurements(shape, rounds)
    for shape, (_, bits) in zip(chosen, points, strict=True):
        store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, role="trial"))
        if bits is not None:
            store.add_score(shape, score(shape, bits, **scores))
    return store, load_view(store, "study")


def study_on_devices(
    folder: Path,
    times: Mapping[str, Sequence[tuple[float, float]]],
    shapes: Sequence[ModelShape],
    *,
    reference_ms: Mapping[str, float],
) -> tuple[Store, StudyView]:
    """A stored study of shapes with given ms of prefill and of a decode step on each device.

    The reference shape takes so many ms of each on a device; a shape is worst off where it is the
    largest multiple of that.
    """
    store = Store(folder)
    profiles = {name: fake_device(name=name) for name in times}
    environments = {name: {"soc": name} for name in times}
    first, *others = times
    record = study_record(profiles[first], environments[first])
    beside = {
        name: {
            "device": profiles[name].model_dump(mode="json"),
            "environment": environments[name],
            "environment_id": measurement([1], environment=environments[name]).environment_id,
        }
        for name in others
    }
    store.save_study(replace(record, config={**record.config, "beside": beside}))
    for name, device in profiles.items():
        units = (reference_ms[name], reference_ms[name])
        told = zip((REFERENCE, *shapes), (units, *times[name]), strict=True)
        for place, (shape, ms) in enumerate(told):
            rounds = [
                measurement(
                    [round(1e6 * value)] * 9,
                    round=number,
                    place=(place + number) % (len(shapes) + 1),
                    cache_mode=device.cache_mode(workload),
                    shape_id=shape.shape_id,
                    workload=workload,
                    device=name,
                    environment=environments[name],
                )
                for workload, value in zip(SCENARIO.workloads, ms, strict=True)
                for number in range(3)
            ]
            store.add_measurements(shape, rounds)
    for shape in shapes:
        store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, role="trial"))
    return store, load_view(store, "study")


def small_text_of(text: Text) -> Text:
    """Documents of 10,000 characters, and one to validate on."""
    train = tuple(d[2000:12_000] for d in text.train[:48])
    return Text(name="small", train=train, validation=text.validation[:1])


@contextmanager
def small_texts(text: Text) -> Iterator[None]:
    """A twentieth of the embedded text in its place, for whoever trains or calibrates on that."""
    small = small_text_of(text)
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("train", "compile"):
            patch.setattr(
                f"phonelm_search.stages.{stage}.load_text",
                lambda data=(): load_text(data) if data else small,
            )
        yield


WORKLOADS: tuple[Workload, ...] = SCENARIO.workloads


def add_training(
    store: Store, study: str, shape: ModelShape, *, tokens: int, bits: float | None, **changes: Any
) -> ProxyScore:
    """A training that counts in a study, as `score` keeps it: the record, and a line of the ladder.

    Trainings of all lengths share text, tokenizer and learning rate, so that the law compares them.
    """
    record = score(
        shape, bits, settings_id=f"ladder {tokens}", tokens=tokens,
        settings={"corpus": "text", "version": 1, "lr_factor": 1.0},
        tokens_per_parameter=tokens / shape.decoder_parameters,
        curve=((tokens // 2, 3.0), (tokens, 2.5)),
    )  # fmt: skip
    record = replace(record, **changes)
    store.add_score(shape, record)
    kept = store.study(study)
    settled = dict(kept.config.get("score") or {})
    entry = {
        "settings_id": record.settings_id, "shape_id": record.shape_id, "seed": record.seed,
    }  # fmt: skip
    settled["ladder"] = [*settled.get("ladder", []), entry]
    store.save_study(replace(kept, config={**kept.config, "score": settled}))
    return record
