"""Reading and writing the database; every finished measurement is one committed transaction."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from phonelm_search.core.errors import (
    StoreError,
    StoreVersionError,
    StudyMismatchError,
    UnknownNameError,
)
from phonelm_search.core.records import (
    Compilation,
    LatencyEstimate,
    Measurement,
    NumericsCheck,
    ProxyScore,
    StudyRecord,
    StudyShape,
)
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.store import rows
from phonelm_search.store import schema as t
from phonelm_search.store.migrate import prepare_schema

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
        there = _sqlite_file(url) if url else file
        if not create and there is not None and not there.exists():
            raise StoreError(
                f"there is no database {there}; run `phonelm-search run` first, or give --results"
            )
        if url is None and create:
            try:
                results.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"the results folder {results} must be writable: {error.strerror}"
                ) from error
        self.results = results
        self.revision = 0
        """Grows with every committed change by this object: readers see what is stale."""
        self.url = url or f"sqlite:///{file}"
        try:
            self._name = make_url(self.url).render_as_string(hide_password=True)
            self._engine = create_engine(self.url, connect_args=self.connect_args)
        except (ArgumentError, ImportError) as error:
            raise StoreError(
                f"--storage must be an SQLAlchemy URL with an installed driver: {error}"
            ) from error
        _enforce_foreign_keys(self._engine)
        self._prepare(create=create)

    @property
    def connect_args(self) -> dict[str, Any]:
        """Driver arguments: how long SQLite waits for another process's lock, in seconds."""
        return {"timeout": _LOCK_SECONDS} if self.url.startswith("sqlite") else {}

    def _prepare(self, *, create: bool) -> None:
        with self._transaction("open") as connection:
            if not create and not inspect(connection).has_table(t.schema.name):
                raise StoreError(
                    f"there is no study in {self._name}; run `phonelm-search run` first"
                )
            found = prepare_schema(connection)
        if found > t.SCHEMA_VERSION:
            raise StoreVersionError(
                f"the database {self._name} must be of schema {t.SCHEMA_VERSION} or older, "
                f"it is {found}; update phonelm-search"
            )

    @contextmanager
    def _transaction(self, action: str) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
            self.revision += action == "write"
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
            found = connection.execute(query.limit(5)).mappings().all()
        exact = [r for r in found if r["shape_id"] == shape_id] or found
        if len(exact) != 1:
            known = [r["shape_id"] for r in found]
            raise UnknownNameError("shape id", shape_id, known, "`pareto STUDY` lists them")
        return ModelShape(**exact[0]["config"])

    def shapes(self, shape_ids: list[str]) -> dict[str, ModelShape]:
        """Shapes by id; unknown ids are left out."""
        query = select(t.shapes).where(t.shapes.c.shape_id.in_(shape_ids))
        with self._transaction("read") as connection:
            found = connection.execute(query).mappings().all()
        return {r["shape_id"]: ModelShape(**r["config"]) for r in found}

    def add_measurements(self, shape: ModelShape, found: Sequence[Measurement]) -> None:
        """Keep the measurements of one job, all or none."""
        with self._transaction("write") as connection:
            _ensure_shape(connection, shape)
            for m in found:
                connection.execute(insert(t.measurements).values(**rows.measurement_row(m)))

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
            found = connection.execute(query).mappings().all()
        return [rows.to_measurement(r) for r in found]

    def measured(self, *, environment_id: str) -> list[tuple[str, Workload, str]]:
        """Shape, workload and key of what was measured and not rejected, without the samples."""
        m = t.measurements.c
        columns = (m.shape_id, m.key, m.phase, m.tokens, m.past_tokens, m.logits)
        query = (
            select(*columns)
            .distinct()
            .where(m.environment_id == environment_id, m.verdict != "rejected")
        )
        with self._transaction("read") as connection:
            found = connection.execute(query).mappings().all()
        return [(r["shape_id"], rows.to_workload(r), r["key"]) for r in found]

    def forget_measurements(self, keys: Sequence[str], *, below_round: int) -> None:
        """Drop earlier rounds of measurements that were made again."""
        table = t.measurements
        with self._transaction("write") as connection:
            connection.execute(
                delete(table).where(table.c.key.in_(keys), table.c.round < below_round)
            )

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
            found = connection.execute(query).mappings().all()
        return [rows.to_score(r) for r in found]

    def forget_scores(self, keys: Collection[tuple[str, str, int]]) -> None:
        """Drop scores by settings, shape and seed."""
        table = t.scores.c
        with self._transaction("write") as connection:
            for settings_id, shape_id, seed in keys:
                connection.execute(
                    delete(t.scores).where(
                        table.settings_id == settings_id,
                        table.shape_id == shape_id,
                        table.seed == seed,
                    )
                )

    def set_estimates(self, found: Sequence[tuple[ModelShape, Sequence[LatencyEstimate]]]) -> None:
        """Keep estimates of shapes; earlier ones of the same key are replaced."""
        with self._transaction("write") as connection:
            for shape, estimates in found:
                _ensure_shape(connection, shape)
                for e in estimates:
                    connection.execute(delete(t.estimates).where(t.estimates.c.key == e.key))
                    connection.execute(insert(t.estimates).values(**rows.estimate_row(e)))

    def estimates(self, *, shape_ids: Sequence[str], environment_id: str) -> list[LatencyEstimate]:
        """Estimates of shapes in one environment."""
        table = t.estimates
        query = select(table).where(
            table.c.shape_id.in_(shape_ids), table.c.environment_id == environment_id
        )
        with self._transaction("read") as connection:
            found = connection.execute(query).mappings().all()
        return [rows.to_estimate(r) for r in found]

    def set_numerics(self, check: NumericsCheck) -> None:
        """Keep a numerics check; an earlier one of the same graph is replaced."""
        with self._transaction("write") as connection:
            connection.execute(delete(t.numerics).where(*_same_graph(check)))
            connection.execute(insert(t.numerics).values(**rows.numerics_row(check)))

    def numerics(self, *, environment_id: str) -> list[NumericsCheck]:
        """All numerics checks of an environment."""
        query = select(t.numerics).where(t.numerics.c.environment_id == environment_id)
        with self._transaction("read") as connection:
            found = connection.execute(query).mappings().all()
        return [rows.to_numerics(r) for r in found]

    def set_compilation(self, shape: ModelShape, found: Compilation) -> None:
        """Keep what a compiler made of a shape; an earlier record of the same key is replaced."""
        table = t.compilations
        with self._transaction("write") as connection:
            _ensure_shape(connection, shape)
            connection.execute(delete(table).where(table.c.key == found.key))
            connection.execute(insert(table).values(**rows.compilation_row(found)))

    def compilation(self, key: str) -> Compilation | None:
        """What a compiler made of a shape, if it was asked before."""
        query = select(t.compilations).where(t.compilations.c.key == key)
        with self._transaction("read") as connection:
            found = connection.execute(query).mappings().first()
        return None if found is None else rows.to_compilation(found)

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
            query = select(t.studies).order_by(t.studies.c.name)
            found = connection.execute(query).mappings().all()
        return [StudyRecord(**r) for r in found]

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
        self.set_study_shapes(study, [(shape, part)])

    def set_study_shapes(self, study: str, found: Sequence[tuple[ModelShape, StudyShape]]) -> None:
        """The same for many shapes at once."""
        table = t.study_shapes
        with self._transaction("write") as connection:
            for shape, part in found:
                if part.shape_id != shape.shape_id:
                    raise StudyMismatchError(f"expected {shape.shape_id}, got {part.shape_id}")
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
            found = connection.execute(query).mappings().all()
        return [rows.to_study_shape(r) for r in found]


def _sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases and malformed URLs."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    sqlite = parsed.get_backend_name() == "sqlite"
    return Path(parsed.database) if sqlite and parsed.database else None


def _enforce_foreign_keys(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")


def _same_graph(check: NumericsCheck) -> list[ColumnElement[bool]]:
    names = ("shape_id", "precision", "environment_id", "graph_version")
    return [t.numerics.c[name] == getattr(check, name) for name in names]


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
