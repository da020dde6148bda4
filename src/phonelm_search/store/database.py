"""Reading and writing the database; every finished measurement is one committed transaction."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, String, and_, cast, delete, insert, select

from phonelm_search.core.cache_probe import CacheProbe
from phonelm_search.core.errors import (
    StudyMismatchError,
    UnknownNameError,
)
from phonelm_search.core.judged_round import JudgedRound, RoundConditions
from phonelm_search.core.records import (
    Compilation,
    LatencyEstimate,
    Measurement,
    NumericsCheck,
    ProxyScore,
    StudyRecord,
    StudyShape,
)
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.store import schema as t
from phonelm_search.store.codec import Codec, parse_many, shape_of
from phonelm_search.store.counts import Common, StudyCounts, count_shapes
from phonelm_search.store.opening import Database
from phonelm_search.store.rounds import (
    companion_rounds,
    judged_rounds,
    round_conditions,
    rounds_state,
)
from phonelm_search.store.statements import among, by_code, upsert
from phonelm_search.store.steady import steady, steady_rows

_AT_ONCE = 2000  # rows, for a bounded memory
_MEASUREMENT = Codec(Measurement, t.measurements)
_ESTIMATE = Codec(LatencyEstimate, t.estimates)
_CACHE_PROBE = Codec(CacheProbe, t.cache_probes)
_NUMERICS = Codec(NumericsCheck, t.numerics)
_COMPILATION = Codec(Compilation, t.compilations)
_SCORE = Codec(ProxyScore, t.scores)
_STUDY = Codec(StudyRecord, t.studies)
_PART = Codec(StudyShape, t.study_shapes)


class Store(Database):
    """Records of a database: see `Database` for how it is opened."""

    def _among(self, column: ColumnElement[str], values: Collection[str]) -> ColumnElement[bool]:
        return among(column, values, self._engine.dialect)

    def _by_code(self, column: ColumnElement[str]) -> ColumnElement[str]:
        return by_code(column, self._engine.dialect)

    @steady
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
        return shape_of(exact[0]["config"])

    @steady
    def shapes(self, shape_ids: Collection[str]) -> dict[str, ModelShape]:
        """Shapes by id; unknown ids are left out."""
        table = t.shapes.c
        query = select(table.shape_id, cast(table.config, String)).where(
            self._among(table.shape_id, shape_ids)
        )
        with self._transaction("read") as connection:
            found = connection.execute(query).all()
        ids, texts = zip(*found, strict=True) if found else ((), ())
        configs = parse_many(table.config, texts)
        return dict(zip(ids, map(shape_of, configs), strict=True))

    @steady
    def add_measurements(self, shape: ModelShape, found: Sequence[Measurement]) -> None:
        """Keep the measurements of one job, all or none."""
        with self._transaction("write") as connection:
            _ensure_shapes(connection, [shape])
            if found:
                connection.execute(insert(t.measurements), [_MEASUREMENT.row(m) for m in found])

    @steady
    def measurements(
        self,
        *,
        keys: Collection[str] | None = None,
        shape_ids: Collection[str] | None = None,
        environment_id: str | None = None,
    ) -> list[Measurement]:
        """Measurements that match all that is given, in the order they were made."""
        query = select(t.measurements).order_by(t.measurements.c.id)
        if keys is not None:
            query = query.where(self._among(t.measurements.c.key, keys))
        if shape_ids is not None:
            query = query.where(self._among(t.measurements.c.shape_id, shape_ids))
        if environment_id is not None:
            query = query.where(t.measurements.c.environment_id == environment_id)
        with self._transaction("read") as connection:
            return _MEASUREMENT.records(connection.execute(query))

    @steady_rows
    def judged_rounds(
        self, *, shape_ids: Collection[str], environment_id: str
    ) -> Iterator[JudgedRound]:
        """Rounds of shapes in one environment, in the order they were made, some at a time."""
        m = t.measurements.c
        where = and_(self._among(m.shape_id, shape_ids), m.environment_id == environment_id)
        with self._transaction("read") as connection:
            yield from judged_rounds(connection, where, at_once=_AT_ONCE)

    @steady
    def rounds_state(self, environment_id: str) -> str:
        """What is another one once a round of an environment was added or dropped."""
        with self._transaction("read") as connection:
            return rounds_state(connection, environment_id)

    @steady_rows
    def round_conditions(
        self, *, shape_ids: Collection[str], environment_id: str
    ) -> Iterator[RoundConditions]:
        """When and how the same rounds were made."""
        m = t.measurements.c
        where = and_(self._among(m.shape_id, shape_ids), m.environment_id == environment_id)
        with self._transaction("read") as connection:
            yield from round_conditions(connection, where, at_once=_AT_ONCE)

    @steady
    def companion_rounds(
        self, shape_ids: Collection[str], workload: Workload, common: Mapping[str, str | int]
    ) -> list[RoundMedian]:
        """Rounds that tell some shapes apart: all of the processes that measured one of them.

        Rejected ones, and what was measured of file-backed sessions, are left out.

        Args:
            shape_ids: The shapes.
            workload: What was timed.
            common: Columns that rounds must have in common to be compared: precision, environment,
                cache mode, versions.
        """
        measured = self._among(t.measurements.c.shape_id, shape_ids)
        with self._transaction("read") as connection:
            return companion_rounds(connection, measured, workload, common)

    @steady
    def forget_measurements(self, keys: Sequence[str], *, below_round: int) -> None:
        """Drop earlier rounds of measurements that were made again."""
        table = t.measurements
        with self._transaction("write") as connection:
            connection.execute(
                delete(table).where(self._among(table.c.key, keys), table.c.round < below_round)
            )

    @steady
    def add_score(self, shape: ModelShape, score: ProxyScore) -> None:
        """Keep a score; one of the same shape, settings and seed is replaced."""
        with self._transaction("write") as connection:
            _ensure_shapes(connection, [shape])
            upsert(connection, t.scores, [_SCORE.row(score)])

    @steady
    def scores(self, *, shape_ids: Collection[str], settings_id: str) -> list[ProxyScore]:
        """Scores of shapes under given settings."""
        query = (
            select(t.scores)
            .where(
                t.scores.c.settings_id == settings_id,
                self._among(t.scores.c.shape_id, shape_ids),
            )
            .order_by(t.scores.c.id)
        )
        with self._transaction("read") as connection:
            return _SCORE.records(connection.execute(query))

    @steady
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

    @steady
    def set_estimates(self, found: Sequence[tuple[ModelShape, Sequence[LatencyEstimate]]]) -> None:
        """Keep estimates of shapes; earlier ones of the same key are replaced."""
        with self._transaction("write") as connection:
            _ensure_shapes(connection, (shape for shape, _ in found))
            upsert(connection, t.estimates, [_ESTIMATE.row(e) for _, some in found for e in some])

    @steady
    def estimates(
        self, *, shape_ids: Collection[str], environment_id: str
    ) -> list[LatencyEstimate]:
        """Estimates of shapes in one environment."""
        table = t.estimates
        query = select(table).where(
            self._among(table.c.shape_id, shape_ids), table.c.environment_id == environment_id
        )
        with self._transaction("read") as connection:
            return _ESTIMATE.records(connection.execute(query))

    @steady
    def set_numerics(self, check: NumericsCheck) -> None:
        """Keep a numerics check; an earlier one of the same graph is replaced."""
        with self._transaction("write") as connection:
            upsert(connection, t.numerics, [_NUMERICS.row(check)])

    @steady
    def set_cache_probe(self, probe: CacheProbe) -> None:
        """Keep how fast an environment reads; an earlier probe of it is replaced."""
        with self._transaction("write") as connection:
            upsert(connection, t.cache_probes, [_CACHE_PROBE.row(probe)])

    @steady
    def cache_probe(self, environment_id: str) -> CacheProbe | None:
        """How fast an environment reads; None where it was never probed."""
        query = select(t.cache_probes).where(t.cache_probes.c.environment_id == environment_id)
        with self._transaction("read") as connection:
            return next(iter(_CACHE_PROBE.records(connection.execute(query))), None)

    @steady
    def numerics(self, *, environment_id: str) -> list[NumericsCheck]:
        """All numerics checks of an environment."""
        query = select(t.numerics).where(t.numerics.c.environment_id == environment_id)
        with self._transaction("read") as connection:
            return _NUMERICS.records(connection.execute(query))

    @steady
    def set_compilation(self, shape: ModelShape, found: Compilation) -> None:
        """Keep what a compiler made of a shape; an earlier record of the same key is replaced."""
        with self._transaction("write") as connection:
            _ensure_shapes(connection, [shape])
            upsert(connection, t.compilations, [_COMPILATION.row(found)])

    @steady
    def compilation(self, key: str) -> Compilation | None:
        """What a compiler made of a shape, if it was asked before."""
        query = select(t.compilations).where(t.compilations.c.key == key)
        with self._transaction("read") as connection:
            records = _COMPILATION.records(connection.execute(query))
        return records[0] if records else None

    @steady
    def save_study(self, study: StudyRecord) -> None:
        """Write a study's configuration, new or changed."""
        with self._transaction("write") as connection:
            upsert(connection, t.studies, [_STUDY.row(study)])

    @steady
    def studies(self) -> list[StudyRecord]:
        """All studies by name."""
        with self._transaction("read") as connection:
            query = select(t.studies).order_by(self._by_code(t.studies.c.name))
            return _STUDY.records(connection.execute(query))

    @steady
    def study(self, name: str) -> StudyRecord:
        """A study by its name.

        Raises:
            UnknownNameError: If there is none.
        """
        by_name = select(t.studies).where(t.studies.c.name == name)
        with self._transaction("read") as connection:
            if records := _STUDY.records(connection.execute(by_name)):
                return records[0]
            names = select(t.studies.c.name).order_by(self._by_code(t.studies.c.name))
            known = connection.execute(names).scalars().all()
        raise UnknownNameError("study", name, list(known), f"in {self._name}")

    @steady
    def study_counts(
        self,
        study: str,
        places: Sequence[Common],
        *,
        settings_id: str,
        seeds: Collection[int],
    ) -> StudyCounts:
        """How many of a study's shapes were measured, failed and scored: see `count_shapes`."""
        with self._transaction("read") as connection:
            return count_shapes(
                connection,
                study,
                places,
                settings_id=settings_id,
                seeds=seeds,
            )

    def set_study_shape(self, study: str, shape: ModelShape, part: StudyShape) -> None:
        """Record a shape's part in a study; an earlier record of the same role is replaced."""
        self.set_study_shapes(study, [(shape, part)])

    @steady
    def set_study_shapes(self, study: str, found: Sequence[tuple[ModelShape, StudyShape]]) -> None:
        """The same for many shapes at once."""
        for shape, part in found:
            if part.shape_id != shape.shape_id:
                raise StudyMismatchError(f"expected {shape.shape_id}, got {part.shape_id}")
        rows = [{"study": study, **_PART.row(part)} for _, part in found]
        with self._transaction("write") as connection:
            _ensure_shapes(connection, (shape for shape, _ in found))
            upsert(connection, t.study_shapes, rows)

    @steady
    def study_shapes(self, study: str) -> list[StudyShape]:
        """The shapes of a study, references first."""
        table = t.study_shapes
        ordered = select(table).order_by(table.c.role, self._by_code(table.c.shape_id))
        query = ordered.where(table.c.study == study)
        with self._transaction("read") as connection:
            return _PART.records(connection.execute(query))


def _ensure_shapes(connection: Connection, shapes: Iterable[ModelShape]) -> None:
    rows = [
        {
            "shape_id": shape.shape_id,
            "config": shape.as_dict(),
            "parameters": shape.parameters,
            "decoder_parameters": shape.decoder_parameters,
        }
        for shape in shapes
    ]
    upsert(connection, t.shapes, rows, replace=False)
