"""Records as rows of their tables, and back."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from sqlalchemy import Column, Result, Table

from phonelm_search.core.errors import ShapeError, StoreError
from phonelm_search.core.shape import ModelShape

R = TypeVar("R")
_JSON_TYPES: dict[str, set[type]] = {
    "conditions": {dict},
    "config": {dict},
    "warmup_ns": {list},
    "samples_ns": {list},
}


class Codec(Generic[R]):
    """One type of record and its table.

    - A field that is a record itself and has no column stands in columns of its fields' names.
    - A column that is a property of the record is written and not read.
    - An empty column of a field with a default is of an older schema: it is the default.
    - An empty column of a number that must be there is one that is no number.

    Args:
        record: The type, a dataclass.
        table: Its table.
    """

    def __init__(self, record: type[R], table: Table) -> None:
        self._record, self._table = record, table
        assert is_dataclass(record)
        own, columns = fields(record), table.c.keys()
        self._nested = {
            f.name: [inner.name for inner in fields(f.type)]
            for f in own
            if f.name not in columns and isinstance(f.type, type)
        }
        self._defaulted = [
            f.name for f in own if (f.default, f.default_factory) != (MISSING, MISSING)
        ]
        self._numbers = [
            f.name
            for f in own
            if f.type is float and f.name in columns and table.c[f.name].nullable
        ]
        self._properties = [n for n in columns if isinstance(getattr(record, n, None), property)]

    @cached_property
    def _one(self) -> TypeAdapter[R]:
        return TypeAdapter(self._record)

    @cached_property
    def _many(self) -> TypeAdapter[list[R]]:
        return TypeAdapter(list[self._record])  # type: ignore[name-defined]

    def row(self, record: R) -> dict[str, Any]:
        """A record's row.

        Raises:
            StoreError: If the record does not hold what its type says: it would not be read again.
        """
        try:
            values: dict[str, Any] = self._one.dump_python(record, warnings="error")
        except PydanticSerializationError as error:
            raise StoreError(
                f"rows of {self._table.name} must hold what {self._record.__name__} says: "
                f"{str(error).splitlines()[-1].strip()}"
            ) from error
        for name in self._nested:
            values |= values.pop(name)
        for name in self._numbers:
            values[name] = values[name] if math.isfinite(values[name]) else None
        for name in self._properties:
            values[name] = getattr(record, name)
        return values

    def records(self, result: Result[Any]) -> list[R]:
        """The records of a query's rows, in their order.

        Raises:
            StoreError: If a row holds something else.
        """
        return self.records_of(tuple(result.keys()), result)

    def records_of(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[R]:
        """The same of some rows, whose columns are called so.

        Raises:
            StoreError: If a row holds something else.
        """
        values = [self._values(dict(zip(names, row, strict=True))) for row in rows]
        try:
            return self._many.validate_python(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"][1:]))
            raise StoreError(
                f"rows of {self._table.name} must be as this release or an older one writes them; "
                f"{where} is {str(first['input'])[:80]!r} in one: {first['msg']}"
            ) from error

    def _values(self, row: dict[str, Any]) -> dict[str, Any]:
        for name, inner in self._nested.items():
            if name not in row:  # else it was decoded before
                row[name] = {n: row[n] for n in inner}
        for name in self._defaulted:
            if row[name] is None:
                del row[name]
        for name in self._numbers:
            if row[name] is None:
                row[name] = math.nan
        return row


def check_types(column: Column[Any], values: Sequence[Any]) -> None:
    """Refuse what a codec would, of a column of plain values: a million of them at once.

    Raises:
        StoreError: If one is of another type than the column's.
    """
    known = _JSON_TYPES.get(column.name) or {column.type.python_type}
    if strange := set(map(type, values)) - known - ({type(None)} if column.nullable else set()):
        raise strange_value(column, next(v for v in values if type(v) in strange))


def parse_many(column: Column[Any], texts: Sequence[str | None]) -> list[Any]:
    """JSON of many rows, parsed in one go: calls are most of parsing so little.

    Raises:
        StoreError: If it is of another type than the column's.
    """
    known = [t or "null" for t in texts]
    values: list[Any] = json.loads(f"[{','.join(known)}]")
    if len(values) != len(known):  # a row that is no JSON by itself
        values = list(map(json.loads, known))
    check_types(column, values)
    return values


def strange_value(column: Column[Any], value: Any) -> StoreError:
    """What is raised where a row of a table holds what no release writes."""
    return StoreError(
        f"rows of {column.table.name} must be as this release or an older one writes them; "
        f"{column.name} is {str(value)[:80]!r} in one"
    )


def shape_of(config: Any) -> ModelShape:
    """A shape from the column that holds its dimensions.

    Raises:
        StoreError: If they are of no shape.
    """
    try:
        return ModelShape(**config)
    except (TypeError, ShapeError) as error:
        raise StoreError(
            "rows of phonelm_shapes must be as this release or an older one writes them; one holds "
            f"{str(config)[:80]!r}: {error}"
        ) from error
