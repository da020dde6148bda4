"""The database: what goes in comes out, and what goes wrong is one clear line."""

import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from helpers import measurement, score, small_shape
from phonelm_search.core.errors import (
    StoreError,
    StoreVersionError,
    StudyMismatchError,
    UnknownNameError,
)
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import LatencyEstimate, NumericsCheck, StudyRecord, StudyShape
from phonelm_search.core.workload import decode, prefill
from phonelm_search.store import Store, study_lock

SHAPE = small_shape()
DOUBTS = (
    Reason(kind="x", what="x"),
    Reason(kind="y", what="y", remedy="do z", about="phone", rounds=2),
)


def test_records_come_back_as_they_were(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    rounds = [measurement([3, 1, 2]), measurement([5], round=1, verdict="suspect", reasons=DOUBTS)]
    store.add_measurements(SHAPE, rounds)
    assert Store(tmp_path, url=url).measurements() == rounds
    kept = score(SHAPE, 2.5, notes=("a",), miniature=True)
    store.add_score(SHAPE, kept)
    assert store.scores(shape_ids=[SHAPE.shape_id], settings_id="s") == [kept]
    failed = score(SHAPE, None)
    store.add_score(SHAPE, failed)  # replaces: same shape, settings and seed
    assert store.scores(shape_ids=[SHAPE.shape_id], settings_id="s") == [failed]


def test_measurements_are_found_by_key_shape_and_environment(
    tmp_path: Path, url: str | None
) -> None:
    store = Store(tmp_path, url=url)
    here, there = measurement([1]), measurement([2], environment={"soc": "y"})
    store.add_measurements(SHAPE, [here, there])
    assert store.measurements(keys=[here.key]) == [here]
    assert store.measurements(environment_id=there.environment_id) == [there]
    assert store.measurements(shape_ids=["other"]) == []
    again = replace(here, round=1, settled=False, drift=0.1, disturbance={"cpu_ns": [1]})
    rejected = replace(again, workload=decode(9), verdict="rejected", reasons=DOUBTS)
    store.add_measurements(SHAPE, [again, again, rejected])
    store.forget_measurements([here.key, there.key], below_round=1)
    assert store.measurements() == [again, again, rejected]


def test_companion_rounds_are_those_of_processes_that_measured_a_shape(
    tmp_path: Path, url: str | None
) -> None:
    store = Store(tmp_path, url=url)
    shapes = [small_shape(num_hidden_layers=n) for n in (1, 2, 3)]
    names = [s.shape_id for s in shapes]
    # One and two shared a process, two and three another; one was measured with a twin.
    for process, members in (("p", (0, 1)), ("q", (1, 2))):
        for place, i in enumerate(members):
            m = measurement([2, 4, 6], shape_id=names[i], process=process, place=place)
            store.add_measurements(shapes[i], [m])
    twin = measurement([8], shape_id=names[0], process="p", place=2, twin=True)
    bad = measurement([9], shape_id=names[0], process="p", place=3, verdict="rejected")
    store.add_measurements(shapes[0], [twin, bad])
    common = {"environment_id": twin.environment_id}
    found = store.companion_rounds([names[0]], prefill(16), common)
    assert [(m.shape_id, m.twin, m.process, m.place) for m in found] == [
        (names[0], False, "p", 0), (names[1], False, "p", 1), (names[0], True, "p", 2),
    ]  # fmt: skip
    assert found[0].paired_ns == 4
    assert len(store.companion_rounds([names[1]], prefill(16), common)) == 5
    assert store.companion_rounds([names[0]], decode(9), common) == []
    assert store.companion_rounds(names, prefill(16), {**common, "cache_mode": "warm"}) == []


def test_shapes_are_found_by_an_unambiguous_beginning(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    for layers in (2, 20):
        store.add_measurements(small_shape(num_hidden_layers=layers), [])
    assert store.shape("w64-l20").num_hidden_layers == 20
    assert store.shape(SHAPE.shape_id) == SHAPE
    for text in ("w64", "w65", "%"):
        with pytest.raises(UnknownNameError, match=f"unknown shape id '{text}'"):
            store.shape(text)


def test_studies_are_written_and_changed(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    record = StudyRecord(name="a", config={"x": 1}, environment_id="e", environment={"k": "v"})
    store.save_study(record)
    changed = StudyRecord(name="a", config={"x": 2}, environment_id="e", environment={"k": "v"})
    store.save_study(changed)
    assert store.study("a") == changed
    part = StudyShape(shape_id=SHAPE.shape_id, role="reference", name="R", reason="no")
    store.set_study_shape("a", SHAPE, part)
    trial = StudyShape(shape_id=SHAPE.shape_id, role="trial")
    store.set_study_shape("a", SHAPE, trial)
    store.set_study_shape("a", SHAPE, trial)
    assert store.study_shapes("a") == [part, trial]
    with pytest.raises(UnknownNameError, match="unknown study 'b'; known: a"):
        store.study("b")
    with pytest.raises(StudyMismatchError):
        store.set_study_shape("a", small_shape(num_hidden_layers=9), trial)


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path)
    with sqlite3.connect(tmp_path / "phonelm.db") as connection:
        connection.execute("UPDATE phonelm_schema SET version = 99")
    with pytest.raises(StoreVersionError, match="schema 9 or older, it is 99; update"):
        Store(tmp_path)


def test_a_missing_database_is_not_made_by_readers(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no database .* run `phonelm-search run` first"):
        Store(tmp_path / "results", create=False)
    assert not (tmp_path / "results").exists()


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'made.db'}"
    with pytest.raises(StoreError, match="there is no database"):
        Store(tmp_path, url=url, create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").write_bytes(b"")
    with pytest.raises(StoreError, match="there is no study in"):
        Store(tmp_path, url=f"sqlite:///{tmp_path / 'empty.db'}", create=False)


def test_a_kill_while_the_tables_are_made_is_repaired(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "phonelm.db") as connection:
        connection.execute("CREATE TABLE phonelm_schema (version INTEGER PRIMARY KEY)")
    store = Store(tmp_path)
    assert store.studies() == []
    assert Store(tmp_path).measurements() == []


def test_a_study_is_one_processs_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from phonelm_search.store import study_lock\n"
        "with study_lock(pathlib.Path(sys.argv[1]), 'st'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    message = f"one process at a time, process {holder.pid} is at it"
    with pytest.raises(StoreError, match=message), study_lock(tmp_path, "st"):
        pass
    with study_lock(tmp_path, "another"):
        pass
    holder.kill()
    holder.wait()
    with study_lock(tmp_path, "st"):
        message = f"one process at a time, process {os.getpid()} is at it"
        with pytest.raises(StoreError, match=message), study_lock(tmp_path, "st"):
            pass
    with study_lock(tmp_path, "st"):
        pass


def test_a_lock_without_a_word_of_its_holder_holds(tmp_path: Path) -> None:
    with study_lock(tmp_path, "st"):
        for file in tmp_path.glob(".st*"):
            if file.suffix != ".lock":
                file.unlink()
        with (
            pytest.raises(StoreError, match="process unknown is at it"),
            study_lock(tmp_path, "st"),
        ):
            pass


def test_a_lock_of_an_earlier_release_holds(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".st.lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="one process at a time"), study_lock(tmp_path, "st"):
            pass


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".st.lock").mkdir()
    with (
        pytest.raises(StoreError, match=r"\.st\.lock must be writable: Is a directory"),
        study_lock(tmp_path, "st"),
    ):
        pass


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "phonelm.db").write_text("hello " * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"results folder .* must be writable: Not a directory"):
        Store(tmp_path / "file" / "results")


@pytest.mark.parametrize("url", ["nonsense", "mysql+nope://x/y"])
def test_a_wrong_storage_url_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="--storage must be an SQLAlchemy URL"):
        Store(tmp_path, url=url)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_measurements(SHAPE, [measurement([1])])

    @event.listens_for(store._engine, "connect")
    def _full(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    store._engine.dispose()
    many = [measurement(list(range(1, 3000)), round=i) for i in range(50)]
    with pytest.raises(StoreError, match=r"database or disk is full; what was finished .* is kept"):
        store.add_measurements(SHAPE, many)
    assert len(Store(tmp_path).measurements()) == 1


def test_two_processes_can_write(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.add_measurements(SHAPE, [measurement([1])])
    second.add_measurements(SHAPE, [measurement([2], round=1)])
    assert len(first.measurements()) == 2


def test_our_tables_stand_beside_optunas(tmp_path: Path) -> None:
    import optuna

    store = Store(tmp_path)
    optuna.create_study(storage=store.url, study_name="x")
    with create_engine(store.url).connect() as connection:
        tables = {r[0] for r in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
    assert {"phonelm_schema", "phonelm_measurements", "studies", "trials"} <= tables


def estimate(**changes: Any) -> LatencyEstimate:
    base: dict[str, Any] = {
        "shape_id": SHAPE.shape_id, "device": "d", "precision": "fp32", "workload": decode(8),
        "cache_mode": "cold", "environment_id": "e", "graph_version": 1, "protocol_version": 2,
        "latency_ms": 2.0, "ci_low_ms": 1.9, "ci_high_ms": 2.2, "intercept_ms": 1.0,
        "slope_ms": 0.5, "depths": (1, 2), "verdict": "suspect", "reasons": DOUBTS,
        "created_at": "t",
    }  # fmt: skip
    return LatencyEstimate(**{**base, **changes})


def test_estimates_are_replaced_by_newer_ones(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    other = estimate(workload=decode(9))
    store.set_estimates([(SHAPE, [estimate(), other])])
    store.set_estimates([(SHAPE, [estimate(latency_ms=3.0)])])
    found = store.estimates(shape_ids=[SHAPE.shape_id], environment_id="e")
    assert sorted(found, key=lambda e: e.latency_ms) == [other, estimate(latency_ms=3.0)]
    assert store.estimates(shape_ids=[SHAPE.shape_id], environment_id="f") == []


def test_numerics_keep_errors_that_are_no_numbers(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    check = NumericsCheck(
        shape_id="s", precision="fp32", environment_id="e", graph_version=1,
        prefill_error=1e-6, decode_error=math.inf, limit=1e-4, created_at="t",
    )  # fmt: skip
    store.set_numerics(check)
    (found,) = store.numerics(environment_id="e")
    assert not found.passed
    assert math.isnan(found.decode_error)
    store.set_numerics(replace(check, decode_error=1e-6))
    assert [c.passed for c in store.numerics(environment_id="e")] == [True]


def test_who_shares_a_database_shares_the_lock_of_its_studies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "link.db").symlink_to(tmp_path / "shared.db")
    Store(tmp_path / "a", url=url)
    with study_lock(tmp_path / "a", "st", url=url):
        message = f"one process at a time, process {os.getpid()} is at it"
        for other in (url, f"sqlite:///{tmp_path / 'link.db'}"):
            with (
                pytest.raises(StoreError, match=message),
                study_lock(tmp_path / "b", "st", url=other),
            ):
                pass
        with study_lock(tmp_path / "b", "another", url=url), study_lock(tmp_path / "a", "st"):
            pass  # another study, and another database


def test_the_owner_on_another_machine_is_told_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with study_lock(tmp_path, "st"):
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        pid = os.getpid()
        with (
            pytest.raises(StoreError, match=rf"process {pid} on \S+ is at it"),
            study_lock(tmp_path, "st"),
        ):
            pass


def test_what_people_and_programs_write_comes_back(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    long = "größe 模型 '\"%\\" * 40
    shape = small_shape(num_hidden_layers=9)
    odd = measurement(
        [2**40], device=long, peak_bytes=2**40, notes=(long,), disturbance={"load": math.inf},
        conditions={"before": {"serial": long, "text": "a\0b"}, "after": {}},
    )  # fmt: skip
    store.add_measurements(SHAPE, [odd])
    (found,) = store.measurements()
    assert float(found.disturbance.pop("load")) == math.inf
    assert replace(found, disturbance=odd.disturbance) == odd
    kept = score(SHAPE, None, seed=2**32 - 1, reason="x\0y", curve=((1, math.inf),))
    store.add_score(SHAPE, kept)
    (back,) = store.scores(shape_ids=[SHAPE.shape_id], settings_id="s")
    assert (back.seed, back.curve) == (kept.seed, kept.curve)
    assert back.reason in ("x\0y", "x\N{REPLACEMENT CHARACTER}y")
    store.save_study(StudyRecord(name="a", config={"x": long}, environment_id="e"))
    part = StudyShape(shape_id=shape.shape_id, role="reference", name=long, reason=long)
    store.set_study_shape("a", shape, part)
    assert store.study_shapes("a") == [part]


def test_names_are_ordered_by_their_characters(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    names = ["b", "B", "a-1", "a1", "a.2", "_a", "a", "A+"]
    for name in names:
        store.save_study(StudyRecord(name=name, config={}, environment_id="e"))
    shapes = [small_shape(num_hidden_layers=n) for n in (2, 20, 10, 1)]
    parts = [(s, StudyShape(shape_id=s.shape_id, role="trial")) for s in shapes]
    store.set_study_shapes("a", parts)
    assert [s.name for s in store.studies()] == sorted(names)
    assert [p.shape_id for p in store.study_shapes("a")] == sorted(s.shape_id for s in shapes)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("bandwidth_bytes_per_s", "fast", "bandwidth_bytes_per_s is 'fast' in one"),
        ("samples_ns", '["x"]', r"samples_ns is .*x.* in one"),
        ("samples_ns", "{}", "samples_ns is '{}' in one"),
        ("conditions", "", "conditions is 'None' in one"),
        ("conditions", "{}, {}", "must hold JSON where they should"),
        ("conditions", "{", "must hold JSON where they should"),
        ("verdict", "fine", "verdict is 'fine' in one"),
    ],
)
def test_rounds_that_no_release_writes_are_one_line(
    tmp_path: Path, column: str, value: str, told: str
) -> None:
    store, shape = Store(tmp_path), small_shape()
    made = measurement([1, 2, 3])
    store.add_measurements(shape, [made])
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE phonelm_measurements SET {column} = ?", (value,))
    where = {"shape_ids": [shape.shape_id], "environment_id": made.environment_id}
    with pytest.raises(StoreError, match=told) as caught:  # noqa: PT012 - one of them sees it
        list(store.judged_rounds(**where))
        list(store.round_conditions(**where))
    assert "\n" not in str(caught.value)
