"""Reading and writing the database; every finished measurement is one committed transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, delete, event, insert, inspect, select
from sqlalchemy.engine import Engine, RowMapping, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from phonelm_search.errors import (
    StoreError,
    StoreVersionError,
    StudyMismatchError,
    UnknownNameError,
)
from phonelm_search.records import Measurement, ProxyScore, StudyRecord, StudyShape
from phonelm_search.shape import ModelShape
from phonelm_search.store import schema as t
from phonelm_search.workload import Workload

_LOCK_SECONDS = 30


class Store:
    """The database of a results folder.

    Args:
        results: Folder of the results; the default database is ``phonelm.db`` in it.
        url: An SQLAlchemy URL instead of that file.
        create: Whether a missing database is made; else it is an error.

    Raises:
        StoreError: If it cannot be opened.
        StoreVersionError: If a newer release wrote it.
    """

    def __init__(self, results: Path, *, url: str | None = None, create: bool = True) -> None:
        file = results / "phonelm.db"
        if url is None and not create and not file.exists():
            raise StoreError(
                f"there is no database {file}; run `phonelm-search run` first, or give --results"
            )
        if url is None and create:
            try:
                results.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"the results folder {results} must be writable: {error.strerror}"
                ) from error
        self.results = results
        self.url = url or f"sqlite:///{file}"
        try:
            self._name = make_url(self.url).render_as_string(hide_password=True)
            self._engine = create_engine(self.url, connect_args=self.connect_args)
        except (ArgumentError, ImportError) as error:
            raise StoreError(
                f"--storage must be an SQLAlchemy URL with an installed driver: {error}"
            ) from error
        _enforce_foreign_keys(self._engine)
        self._prepare()

    @property
    def connect_args(self) -> dict[str, Any]:
        """Driver arguments: how long SQLite waits for another process's lock, in seconds."""
        return {"timeout": _LOCK_SECONDS} if self.url.startswith("sqlite") else {}

    def _prepare(self) -> None:
        with self._transaction("open") as connection:
            if inspect(connection).has_table(t.schema.name):
                found = connection.execute(select(t.schema.c.version)).scalar()
                if found is not None and found > t.SCHEMA_VERSION:
                    raise StoreVersionError(
                        f"the database {self._name} must be of schema {t.SCHEMA_VERSION} or older, "
                        f"it is {found}; update phonelm-search"
                    )
            else:
                t.metadata.create_all(connection)
                connection.execute(insert(t.schema).values(version=t.SCHEMA_VERSION))

    @contextmanager
    def _transaction(self, action: str) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StoreError(
                f"cannot {action} the database {self._name}: {cause}; what was finished before is "
                "kept, run again to continue"
            ) from error

    def shape(self, shape_id: str) -> ModelShape:
        """A shape by its id or an unambiguous beginning of it.

        Raises:
            UnknownNameError: If none or several begin like that.
        """
        with self._transaction("read") as connection:
            query = select(t.shapes).where(
                t.shapes.c.shape_id.startswith(shape_id, autoescape=True)
            )
            rows = connection.execute(query.limit(5)).mappings().all()
        exact = [r for r in rows if r["shape_id"] == shape_id] or rows
        if len(exact) != 1:
            known = [r["shape_id"] for r in rows]
            raise UnknownNameError("shape id", shape_id, known, "`pareto STUDY` lists them")
        return ModelShape(**exact[0]["config"])

    def shapes(self, shape_ids: list[str]) -> dict[str, ModelShape]:
        """Shapes by id; unknown ids are left out."""
        query = select(t.shapes).where(t.shapes.c.shape_id.in_(shape_ids))
        with self._transaction("read") as connection:
            rows = connection.execute(query).mappings().all()
        return {r["shape_id"]: ModelShape(**r["config"]) for r in rows}

    def add_measurements(self, shape: ModelShape, found: list[Measurement]) -> None:
        """Keep the measurements of one job, all or none."""
        with self._transaction("write") as connection:
            _ensure_shape(connection, shape)
            for m in found:
                row = {f.name: getattr(m, f.name) for f in fields(m) if f.name != "workload"}
                work = asdict(m.workload)
                connection.execute(
                    insert(t.measurements).values(
                        **row, **work, key=m.key, environment_id=m.environment_id
                    )
                )

    def measurements(
        self,
        *,
        keys: list[str] | None = None,
        shape_ids: list[str] | None = None,
        environment_id: str | None = None,
    ) -> list[Measurement]:
        """Measurements that match all that is given, in the order they were made."""
        query = select(t.measurements).order_by(t.measurements.c.id)
        if keys is not None:
            query = query.where(t.measurements.c.key.in_(keys))
        if shape_ids is not None:
            query = query.where(t.measurements.c.shape_id.in_(shape_ids))
        if environment_id is not None:
            query = query.where(t.measurements.c.environment_id == environment_id)
        with self._transaction("read") as connection:
            rows = connection.execute(query).mappings().all()
        return [_measurement(r) for r in rows]

    def forget_measurements(self, keys: list[str]) -> None:
        """Drop measurements, so that they are made again."""
        with self._transaction("write") as connection:
            connection.execute(delete(t.measurements).where(t.measurements.c.key.in_(keys)))

    def add_score(self, shape: ModelShape, score: ProxyScore) -> None:
        """Keep a score; one of the same shape, settings and seed is replaced."""
        row = asdict(score)
        with self._transaction("write") as connection:
            _ensure_shape(connection, shape)
            connection.execute(
                delete(t.scores).where(
                    t.scores.c.shape_id == score.shape_id,
                    t.scores.c.settings_id == score.settings_id,
                    t.scores.c.seed == score.seed,
                )
            )
            connection.execute(insert(t.scores).values(**row))

    def scores(self, *, shape_ids: list[str], settings_id: str) -> list[ProxyScore]:
        """Scores of shapes under given settings."""
        query = (
            select(t.scores)
            .where(t.scores.c.settings_id == settings_id, t.scores.c.shape_id.in_(shape_ids))
            .order_by(t.scores.c.id)
        )
        with self._transaction("read") as connection:
            rows = connection.execute(query).mappings().all()
        return [_score(r) for r in rows]

    def save_study(self, study: StudyRecord) -> None:
        """Write a study's configuration, new or changed."""
        with self._transaction("write") as connection:
            known = connection.execute(
                select(t.studies.c.name).where(t.studies.c.name == study.name)
            ).scalar()
            values = asdict(study)
            if known is None:
                connection.execute(insert(t.studies).values(**values))
            else:
                connection.execute(
                    t.studies.update().where(t.studies.c.name == study.name).values(**values)
                )

    def studies(self) -> list[StudyRecord]:
        """All studies by name."""
        with self._transaction("read") as connection:
            rows = connection.execute(select(t.studies).order_by(t.studies.c.name)).mappings().all()
        return [StudyRecord(**r) for r in rows]

    def study(self, name: str) -> StudyRecord:
        """A study by its name.

        Raises:
            UnknownNameError: If there is none.
        """
        found = {s.name: s for s in self.studies()}
        if name not in found:
            raise UnknownNameError("study", name, list(found), f"in {self._name}")
        return found[name]

    def set_study_shape(self, study: str, shape: ModelShape, part: StudyShape) -> None:
        """Record a shape's part in a study; an earlier record of the same role is replaced."""
        if part.shape_id != shape.shape_id:
            raise StudyMismatchError(f"expected {shape.shape_id}, got {part.shape_id}")
        table = t.study_shapes
        with self._transaction("write") as connection:
            _ensure_shape(connection, shape)
            connection.execute(
                delete(table).where(
                    table.c.study == study,
                    table.c.shape_id == part.shape_id,
                    table.c.role == part.role,
                )
            )
            connection.execute(insert(table).values(study=study, **asdict(part)))

    def study_shapes(self, study: str) -> list[StudyShape]:
        """The shapes of a study, references first."""
        table = t.study_shapes
        query = select(table).where(table.c.study == study).order_by(table.c.role, table.c.shape_id)
        with self._transaction("read") as connection:
            rows = connection.execute(query).mappings().all()
        return [StudyShape(**{k: v for k, v in r.items() if k != "study"}) for r in rows]


def _enforce_foreign_keys(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")


def _ensure_shape(connection: Connection, shape: ModelShape) -> None:
    known = select(t.shapes.c.shape_id).where(t.shapes.c.shape_id == shape.shape_id)
    if connection.execute(known).scalar() is None:
        connection.execute(
            insert(t.shapes).values(
                shape_id=shape.shape_id,
                config=shape.as_dict(),
                parameters=shape.parameters,
                decoder_parameters=shape.decoder_parameters,
            )
        )


def _measurement(row: RowMapping) -> Measurement:
    values: dict[str, Any] = {
        f.name: row[f.name] for f in fields(Measurement) if f.name != "workload"
    }
    for name in ("warmup_ns", "samples_ns", "reasons", "notes"):
        values[name] = tuple(values[name])
    workload = Workload(**{n: row[n] for n in ("phase", "tokens", "past_tokens", "logits")})
    return Measurement(workload=workload, **values)


def _score(row: Mapping[Any, Any]) -> ProxyScore:
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(ProxyScore)}
    for name in ("notes", "chunk_bits", "chunk_bytes"):
        values[name] = tuple(values[name])
    values["curve"] = tuple((int(n), float(b)) for n, b in values["curve"])
    return ProxyScore(**values)
