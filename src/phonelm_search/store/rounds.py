"""Rounds as readings of a study need them: what many have in common is decoded once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    case,
    cast,
    func,
    select,
)

from phonelm_search.core.judged_round import JudgedRound, Judgement, RoundConditions
from phonelm_search.core.judgement import VERDICTS
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.core.workload import Workload
from phonelm_search.store import schema as t
from phonelm_search.store.codec import Codec, check_types, parse_many, strange_value

_JUDGEMENT = Codec(Judgement, t.measurements)
_OWN = JudgedRound._fields[:-1]
_COMMON = tuple(f.name for f in fields(Judgement))
_JSON = ("reasons", "notes", "protocol")
_PRIME = 1_000_000_007
"""Numbers are summed up modulo it: what a strange row holds overflows no sum."""


def judged_rounds(
    connection: Connection, where: ColumnElement[bool], *, at_once: int
) -> Iterator[JudgedRound]:
    """Rounds in the order they were made.

    Args:
        connection: The database.
        where: Which rows of measurements.
        at_once: Rows that are read together.

    Raises:
        StoreError: If a row holds something else.
    """
    m = t.measurements.c
    # As text: rows that hold the same are parsed once.
    common = [cast(m[name], String) if name in _JSON else m[name] for name in _COMMON]
    query = select(*(m[name] for name in _OWN), *common).where(where).order_by(m.id)
    known = _Judgements()
    for own, rest in _columns(connection, query, [m[name] for name in _OWN], at_once):
        told = zip(*rest, strict=True)
        yield from map(JudgedRound, *own, map(known.__getitem__, told))


def _columns(
    connection: Connection, query: Select[Any], own: Sequence[Column[Any]], at_once: int
) -> Iterator[tuple[list[Sequence[Any]], list[Sequence[Any]]]]:
    """Rows of a query, some at a time: its first columns, whose types are checked, and the rest."""
    result = connection.execution_options(yield_per=at_once).execute(query)
    for rows in result.partitions():
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        first, rest = columns[: len(own)], columns[len(own) :]
        for column, values in zip(own, first, strict=True):
            check_types(column, values)
        yield first, rest


class _Judgements(dict[tuple[Any, ...], Judgement]):
    """Columns of a judgement → what they say."""

    def __missing__(self, told: tuple[Any, ...]) -> Judgement:
        row = [
            json.loads(value) if name in _JSON and value is not None else value
            for name, value in zip(_COMMON, told, strict=True)
        ]
        (self[told],) = _JUDGEMENT.records_of(_COMMON, [row])
        return self[told]


def rounds_state(connection: Connection, environment_id: str) -> str:
    """What is another one once a round of an environment was added or dropped.

    Args:
        connection: The database.
        environment_id: Digest of the environment.
    """
    m = t.measurements.c
    summed = (func.sum(n % _PRIME) for n in (m.id, cast(m.paired_ns, BigInteger)))
    doubted = [func.sum(case((m.verdict == v, 1), else_=0)) for v in VERDICTS]
    query = select(func.max(m.id), *summed, *doubted).where(m.environment_id == environment_id)
    return " ".join(map(str, connection.execute(query).one()))


def round_conditions(
    connection: Connection, where: ColumnElement[bool], *, at_once: int
) -> Iterator[RoundConditions]:
    """When and how the same rounds were made.

    Args:
        connection: The database.
        where: Which rows of measurements.
        at_once: Rows that are read together.

    Raises:
        StoreError: If a row holds something else.
    """
    m = t.measurements.c
    plain = [m[name] for name in RoundConditions._fields[:-2]]
    texts = [m.conditions, m.warmup_ns, m.samples_ns]
    query = select(*plain, *(cast(c, String) for c in texts)).where(where).order_by(m.id)
    for own, rest in _columns(connection, query, plain, at_once):
        conditions, warmups, samples = map(parse_many, texts, rest)
        taken = zip(_sums(m.warmup_ns, warmups), _sums(m.samples_ns, samples), strict=True)
        yield from map(RoundConditions, *own, conditions, map(sum, taken))


def _sums(column: Column[Any], values: Sequence[Any]) -> list[int]:
    """Nanoseconds of each round together."""
    for runs in values:
        if not set(map(type, runs)) <= {int}:
            raise strange_value(column, runs)
    return list(map(sum, values))


def companion_rounds(
    connection: Connection,
    measured: ColumnElement[bool],
    workload: Workload,
    common: Mapping[str, str | int],
) -> list[RoundMedian]:
    """All rounds of the processes that measured some rows: see `Store.companion_rounds`.

    Args:
        connection: The database.
        measured: Which rows of measurements.
        workload: What was timed.
        common: Columns that rounds must have in common.
    """
    m = t.measurements.c
    alike = [m[name] == value for name, value in {**asdict(workload), **common}.items()]
    alike.append(m.verdict != "rejected")
    processes = select(m.process).where(*alike, measured)
    query = select(*(m[name] for name in RoundMedian._fields)).where(
        *alike, m.process.in_(processes)
    )
    found = connection.execute(query.order_by(m.id)).all()
    if not found:
        return []
    columns = dict(zip(RoundMedian._fields, zip(*found, strict=True), strict=True))
    return list(map(RoundMedian, *{**columns, "twin": map(bool, columns["twin"])}.values()))
