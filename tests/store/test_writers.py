"""Two writers at once, many ids at once, and how readers learn of what was written."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from helpers import measurement, score, small_shape
from phonelm_search.core.errors import StoreError, StudyMismatchError
from phonelm_search.core.records import StudyRecord, StudyShape
from phonelm_search.core.workload import prefill
from phonelm_search.store import Store, open_optuna_storage
from phonelm_search.store import schema as t
from phonelm_search.store.engine import open_engine
from phonelm_search.store.statements import among, upsert
from servers import Server

SHAPE = small_shape()
RECORD = StudyRecord(name="a", config={"x": 1}, environment_id="e", environment={})


def together(*writers: Callable[[], None]) -> None:
    """Let writers begin at the same moment, each in a thread."""
    start = threading.Barrier(len(writers))

    def run(writer: Callable[[], None]) -> None:
        start.wait()
        writer()

    with ThreadPoolExecutor(len(writers)) as pool:
        for future in [pool.submit(run, w) for w in writers]:
            future.result()


def test_writers_of_the_same_rows_meet(tmp_path: Path, url: str | None) -> None:
    stores = [Store(tmp_path, url=url) for _ in range(3)]
    stores[0].save_study(RECORD)
    shapes = [small_shape(num_hidden_layers=n) for n in range(1, 31)]

    def writer(store: Store, seed: int) -> Callable[[], None]:
        def write() -> None:
            for shape in shapes:
                store.set_study_shape("a", shape, StudyShape(shape_id=shape.shape_id, role="trial"))
                store.add_score(shape, score(shape, 2.0 + seed))
                rounds = [measurement([1 + seed], shape_id=shape.shape_id, round=seed)]
                store.add_measurements(shape, rounds)

        return write

    together(*(writer(s, i) for i, s in enumerate(stores)))
    ids = sorted(s.shape_id for s in shapes)
    assert sorted(stores[0].shapes(ids)) == ids
    assert [p.shape_id for p in stores[1].study_shapes("a")] == ids
    assert sorted(s.shape_id for s in stores[2].scores(shape_ids=ids, settings_id="s")) == ids
    assert len(stores[0].measurements()) == 3 * len(shapes)


@pytest.mark.xdist_group("postgresql")
def test_two_may_make_the_tables_of_a_server_at_once(tmp_path: Path, server: Server) -> None:
    url = server.url(server.new_database())

    def make() -> None:
        open_optuna_storage(Store(tmp_path, url=url)).engine.dispose()

    together(make, make)
    assert Store(tmp_path, url=url).studies() == []


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda d: d.name)
def test_a_row_that_is_there_is_met_by_the_database(dialect: Any) -> None:
    class Connection:
        statement = ""

        def execute(self, statement: Any, rows: list[Any]) -> None:
            self.statement = " ".join(str(statement.compile(dialect=dialect)).split())

    Connection.dialect = dialect  # type: ignore[attr-defined]
    connection: Any = Connection()
    row = {c.name: "x" for c in t.scores.c if c.name != "id"}
    upsert(connection, t.scores, [row])
    assert "ON CONFLICT (shape_id, settings_id, seed) DO UPDATE SET" in connection.statement
    assert "bits_per_byte = excluded.bits_per_byte" in connection.statement
    upsert(connection, t.shapes, [{c.name: "x" for c in t.shapes.c}], replace=False)
    assert connection.statement.endswith("ON CONFLICT (shape_id) DO NOTHING")


def test_of_rows_given_twice_the_last_one_counts(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    store.save_study(RECORD)
    part = StudyShape(shape_id=SHAPE.shape_id, role="trial")
    last = replace(part, reason="no")
    store.set_study_shapes("a", [(SHAPE, part), (SHAPE, last)])
    assert store.study_shapes("a") == [last]


def test_more_ids_than_a_statement_has_variables(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)
    shapes = [small_shape(num_hidden_layers=n) for n in (9, 5, 7)]
    rounds = [measurement([n], shape_id=s.shape_id) for n, s in enumerate(shapes)]
    for shape, one in zip(shapes, rounds, strict=True):
        store.add_measurements(shape, [one])
        store.add_score(shape, score(shape, 2.0))
    known = [s.shape_id for s in shapes]
    many = [*(f"none-{n}" for n in range(40_000)), *reversed(known)]
    assert sorted(store.shapes(many)) == sorted(known)
    assert store.measurements(shape_ids=many) == rounds  # in the order that they were made
    assert [s.shape_id for s in store.scores(shape_ids=many, settings_id="s")] == known
    assert store.estimates(shape_ids=many, environment_id="e") == []
    keys = [*(f"{n}" for n in range(40_000)), *(m.key for m in rounds)]
    assert store.measurements(keys=keys) == rounds
    store.forget_measurements(keys, below_round=1)
    assert store.measurements() == []
    assert store.shapes([]) == {}
    more = [*(f"{n}" for n in range(260_000)), *known]  # than any build of SQLite has
    assert sorted(store.shapes(more)) == sorted(known)


def test_many_ids_are_one_variable_of_postgresql() -> None:
    clause = among(t.shapes.c.shape_id, ["a", "b"], postgresql.dialect())
    text = str(clause.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
    assert """FROM jsonb_array_elements_text(CAST('["a", "b"]' AS JSONB))""" in text


def test_a_parts_shape_must_be_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_study(RECORD)
    other = StudyShape(shape_id="other", role="trial")
    with pytest.raises(StudyMismatchError):
        store.set_study_shapes("a", [(SHAPE, other)])
    assert store.shapes([SHAPE.shape_id]) == {}


def test_the_revision_tells_what_was_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = [store.revision]

    def after(write: Callable[[], None]) -> int:
        write()
        seen.append(store.revision)
        return seen[-1] - seen[-2]

    assert after(lambda: store.save_study(RECORD)) == 1
    assert after(lambda: store.add_measurements(SHAPE, [measurement([1])])) == 1
    assert after(lambda: store.add_score(SHAPE, score(SHAPE, 2.0))) == 1
    assert after(lambda: store.forget_scores([("s", SHAPE.shape_id, 0)])) == 1
    part = StudyShape(shape_id=SHAPE.shape_id, role="trial")
    assert after(lambda: store.set_study_shape("a", SHAPE, part)) == 1
    assert after(lambda: store.forget_measurements([], below_round=1)) == 1
    # Reading writes nothing, and neither does what fails.
    store.study("a")
    store.measurements()
    with pytest.raises(StoreError, match="FOREIGN KEY constraint failed"):
        store.set_study_shape("nowhere", SHAPE, part)
    assert after(lambda: None) == 0
    # Each object counts its own.
    assert Store(tmp_path).revision == 0


def test_writes_of_many_threads_are_all_counted(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path, url=url)

    def write() -> None:
        for n in range(20):
            store.add_measurements(SHAPE, [measurement([1], workload=prefill(n + 1))])

    together(write, write, write)
    assert store.revision == 60


def test_one_study_is_read_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_study(RECORD)
    store.save_study(replace(RECORD, name="broken"))
    with store._writer.begin() as connection:
        connection.exec_driver_sql("UPDATE phonelm_studies SET config = '{' WHERE name = 'broken'")
    assert store.study("a") == RECORD
    with pytest.raises(LookupError, match="unknown study 'b'; known: a, broken"):
        store.study("b")


def test_a_database_that_is_neither_is_one_line() -> None:
    with pytest.raises(StoreError, match="URL of sqlite or postgresql, got mysql"):
        open_engine("mysql://x/y")
