"""Databases of earlier releases stay readable: each has a dump here, made by that release."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import fake_device, fake_profiler
from phonelm_search.core.errors import StudyMismatchError
from phonelm_search.measure import REFERENCE
from phonelm_search.reading import choose, find_row, load_view
from phonelm_search.stages import prepare
from phonelm_search.stages.setup import open_study
from phonelm_search.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
STUDY = "tiny.fake-phone"


def restored(folder: Path, dump: str, *, upgrade: bool = False) -> Store:
    with sqlite3.connect(folder / "phonelm.db") as connection:
        connection.executescript((FIXTURES / dump).read_text(encoding="utf-8"))
    return Store(folder, create=False, upgrade=upgrade)


@pytest.fixture
def first_release(tmp_path: Path) -> Store:
    return restored(tmp_path, "phonelm-v1.sql")


def test_a_study_of_schema_1_reads_as_it_did(first_release: Store) -> None:
    view = load_view(first_release, STUDY)
    pick = choose(view)
    # As that release printed it.
    assert pick.row.shape.shape_id == "w192-l2-f480-h6-kv3-silu-plain-c7c826"
    assert pick.row.time.ttft.ms == pytest.approx(3.077, rel=0.02)
    assert pick.row.time.tpot.ms == pytest.approx(0.7104, rel=0.02)
    assert pick.row.bits_per_byte == pytest.approx(3.549, abs=5e-4)
    assert [r.name for r in view.rows if r.name] == ["tiny-llama"]
    assert all(r.verdict == "suspect" for r in view.rows)  # a round each, in no common process
    assert (pick.row.peak_bytes or 0) > 100_000


def test_it_is_brought_up_to_the_present_schema_and_takes_new_rounds(tmp_path: Path) -> None:
    first_release = restored(tmp_path, "phonelm-v1.sql", upgrade=True)
    old = first_release.measurements()
    assert all(m.settled and m.drift is None and m.protocol == {} for m in old)
    again = replace(old[0], round=1, drift=0.1)
    first_release.add_measurements(first_release.shape(old[0].shape_id), [again])
    reopened = Store(first_release.results, create=False)
    assert reopened.measurements() == [*old, again]
    assert reopened.numerics(environment_id="e") == []


@pytest.fixture
def second_release(tmp_path: Path) -> Store:
    return restored(tmp_path, "phonelm-v2.sql")


def test_a_study_of_schema_2_keeps_its_scores(second_release: Store) -> None:
    view = load_view(second_release, STUDY)
    # As that release printed it; what it picked by these scores, the law ranks by all it knows.
    row = find_row(view, "w64-l10-f256-h2-kv1-silu-c9e6c2")
    assert row.bits_per_byte == pytest.approx(3.351533, abs=5e-6)
    score = row.score
    assert score is not None
    assert [r.seed for r in score.runs] == [0]
    assert (score.first.rungs, score.first.quantised, score.first.stopped) == ((), {}, False)
    assert view.lzma_bits_per_byte == 2.18
    # They are trainings that the law learns from.
    assert {t.shape_id for t in view.trainings} == {
        r.shape.shape_id for r in view.sampled if r.score
    }
    assert len(view.evidence) == len(view.trainings)
    pick = choose(view)
    assert pick.row in view.front
    assert any("a quick look: nothing was trained on more than 0.028 t" in d
               for d in pick.provisional)  # fmt: skip


@pytest.fixture
def third_release(tmp_path: Path) -> Store:
    return restored(tmp_path, "phonelm-v3.sql")


def test_a_study_of_schema_3_knows_no_accelerator_and_keeps_its_pick(third_release: Store) -> None:
    view = load_view(third_release, STUDY)
    pick = choose(view)
    # As that release printed it.
    assert pick.row.shape.shape_id == "w192-l2-f480-h6-kv3-silu-plain-c7c826"
    assert pick.row.time.ttft.ms == pytest.approx(0.5793, rel=0.02)
    assert pick.row.bits_per_byte == pytest.approx(2.835, abs=5e-4)
    assert str(view.device.precision) == "int4-b32"
    assert not view.device.accelerated
    assert {m.coverage for m in third_release.measurements()} == {None}
    assert {r.coverage for r in view.rows} == {None}
    assert third_release.compilation("none") is None


def test_rounds_of_schema_5_share_a_process_by_its_conditions(tmp_path: Path) -> None:
    store = restored(tmp_path, "phonelm-v5.sql")
    view = load_view(store, STUDY)
    # As that release printed it.
    fastest = view.rows[0]
    assert fastest.shape.shape_id == "w192-l2-f480-h6-kv3-silu-plain-c7c826"
    assert fastest.time.ttft.ms == pytest.approx(0.5793, rel=0.02)
    found = store.measurements()
    processes = {}
    for m in found:
        processes.setdefault(m.process, []).append(m)
    assert {len({m.shape_id for m in ms}) for ms in processes.values()} == {6}
    for members in processes.values():
        last = max(members, key=lambda m: m.place)
        assert last.shape_id == REFERENCE.shape_id  # it was made last, and stored first
        assert {m.place for m in members} == set(range(6))
    assert all(m.paired_ns == pytest.approx(np.median(m.samples_ns), rel=0.2) for m in found)


def test_a_study_is_not_continued_under_another_protocol(first_release: Store) -> None:
    setup = replace(prepare("tiny", ["host-cpu"], study=STUDY), device=fake_device())
    environment = fake_profiler(first_release).environment
    with pytest.raises(StudyMismatchError, match=r"versions was null, is .*use another --study"):
        open_study(first_release, setup, [environment])
