"""Numbers of a study's shapes are counted by the database as a reader would sort them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from helpers import SCENARIO, fake_device, measurement, score, small_shape, study_record
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import LatencyEstimate, Measurement, StudyRecord, StudyShape
from phonelm_search.core.shape import ModelShape
from phonelm_search.measure import REFERENCE
from phonelm_search.reading import Place, count_shapes, load_view
from phonelm_search.reading.place import places_of
from phonelm_search.store import Store, StudyCounts

FIXTURES = Path(__file__).parents[1] / "store" / "fixtures"
ENVIRONMENTS = ({"soc": "x"}, {"soc": "y"})
STATES = ("whole", "rejected", "half", "blocks", "bad blocks", "half and blocks", "unknown")

NOISE = Reason(kind="noise", what="noise")


def counted_by_reading(store: Store, study: str) -> StudyCounts:
    view = load_view(store, study)
    trained = sum(r.bits_per_byte is not None for r in view.sampled)
    return StudyCounts(measured=len(view.sampled), failed=len(view.failed), trained=trained)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_stored_study_counts_as_it_reads(tmp_path: Path, version: int) -> None:
    dump = (FIXTURES / f"phonelm-v{version}.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "phonelm.db")) as connection:
        connection.executescript(dump)
    store = Store(tmp_path)
    (record,) = store.studies()
    counts = count_shapes(store, record)
    assert counts == counted_by_reading(store, record.name)
    assert counts == StudyCounts(measured=3, failed=0, trained=1 if version == 1 else 2)


def two_devices() -> StudyRecord:
    record = study_record(fake_device(), ENVIRONMENTS[0])
    other = fake_device(name="other")
    place = {
        "device": other.model_dump(mode="json"),
        "environment_id": measurement([1], environment=ENVIRONMENTS[1]).environment_id,
        "environment": ENVIRONMENTS[1],
    }
    return replace(record, config={**record.config, "beside": {"other": place}})


def rounds(
    place: Place, environment: dict[str, str], shape: ModelShape, state: str
) -> Iterator[Measurement]:
    """Measurements of a shape at a place: two rounds, the first of which was rejected."""
    verdicts = {"whole": ("rejected", "valid"), "rejected": ("rejected", "rejected")}
    for workload in SCENARIO.workloads[: 1 if "half" in state else None]:
        common = place.common(workload)
        common.pop("environment_id")
        if state in ("whole", "rejected", "half", "half and blocks"):
            for number, verdict in enumerate(verdicts.get(state, ("valid", "valid"))):
                yield measurement(
                    [10**6] * 9,
                    **common,
                    shape_id=shape.shape_id,
                    workload=workload,
                    environment=environment,
                    round=number,
                    verdict=verdict,
                    reasons=(NOISE,) if verdict == "rejected" else (),
                )


def estimates(place: Place, shape: ModelShape, state: str) -> Iterator[LatencyEstimate]:
    if "blocks" not in state:
        return
    bad = state == "bad blocks"
    for workload in SCENARIO.workloads:
        common: dict[str, Any] = place.common(workload)
        common.pop("weights_source")
        yield LatencyEstimate(
            **common, shape_id=shape.shape_id, device="d", workload=workload, latency_ms=2.0,
            ci_low_ms=1.9, ci_high_ms=2.2, intercept_ms=1.0, slope_ms=0.5, depths=(1, 2),
            verdict="rejected" if bad else "valid", reasons=(NOISE,) if bad else (),
            created_at="t",
        )  # fmt: skip


def known_at(store: Store, place: Place, shape: ModelShape, state: str) -> None:
    environment = next(
        e
        for e in ENVIRONMENTS
        if measurement([1], environment=e).environment_id == place.environment_id
    )
    store.add_measurements(shape, list(rounds(place, environment, shape, state)))
    store.set_estimates([(shape, list(estimates(place, shape, state)))])


def test_every_way_to_be_known_at_one_device_counts_as_it_reads(
    tmp_path: Path, url: str | None
) -> None:
    store = Store(tmp_path, url=url)
    record = study_record(fake_device(), ENVIRONMENTS[0])
    record = replace(record, config={**record.config, "score": {"settings_id": "s", "seeds": [1]}})
    store.save_study(record)
    (place,) = places_of(record)
    roles = ("trial", "reference", "screened", "trial and screened")
    for n, (state, role, seed) in enumerate(product(STATES, roles, (0, 1, None))):
        shape = small_shape(num_hidden_layers=n + 1)
        known_at(store, place, shape, state)
        for one in role.split(" and "):
            part: Any = {"role": one, "name": str(n) if one == "reference" else None}
            store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, **part))
        if seed is not None:
            store.add_score(shape, score(shape, None if n % 2 else 2.0, seed=seed))
    for n, role in enumerate(("trial", "reference")):
        shape = small_shape(num_hidden_layers=900 + n)
        failed: Any = {"role": role, "reason": "no memory"}
        store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, **failed))
    counts = count_shapes(store, record)
    assert counts == counted_by_reading(store, "study")
    # Known are "whole", "blocks" and "half and blocks": of 3 roles that are sampled, with 3 seeds.
    assert counts.measured == 3 * 3 * 3
    # Two states are rejected, in 4 roles with 3 seeds; two parts have a reason.
    assert counts.failed == 2 * 4 * 3 + 2


@pytest.mark.parametrize("reference", ["whole", "rejected", "half", "blocks"])
def test_several_devices_count_as_they_read(tmp_path: Path, reference: str) -> None:
    store, record = Store(tmp_path), two_devices()
    store.save_study(record)
    places = places_of(record)
    for n, states in enumerate(product(STATES, STATES)):
        shape = small_shape(num_hidden_layers=n + 1)
        for place, state in zip(places, states, strict=True):
            known_at(store, place, shape, state)
        part = StudyShape(shape_id=shape.shape_id, role="trial")
        store.set_study_shape("study", shape, part)
        store.add_score(shape, score(shape, 2.0))
    known_at(store, places[0], REFERENCE, "whole")
    known_at(store, places[1], REFERENCE, reference)
    counts = count_shapes(store, record)
    assert counts == counted_by_reading(store, "study")
    # Whatever is known of the reference: another shape is the baseline then. Known and not
    # rejected at both are 3 states at each; the others are rejected at one or both.
    assert counts == StudyCounts(measured=9, failed=5 * 5 - 3 * 3, trained=9)


def test_no_sample_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = study_record(fake_device(), ENVIRONMENTS[0])
    store.save_study(record)
    statements: list[str] = []
    event.listen(
        store._engine, "before_cursor_execute", lambda c, u, text, *_: statements.append(text)
    )
    assert count_shapes(store, record) == StudyCounts(measured=0, failed=0, trained=0)
    assert any("phonelm_measurements" in s for s in statements)
    assert not any("samples_ns" in s or "chunk_bits" in s for s in statements)
