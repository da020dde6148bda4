"""Records as rows: what goes in comes out, and empty columns mean what they meant."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert, select, update

from helpers import measurement, score, small_shape
from phonelm_search.core.errors import StoreError
from phonelm_search.core.node_coverage import Coverage, Fallback
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import (
    Compilation,
    LatencyEstimate,
    Measurement,
    NumericsCheck,
    ProxyScore,
    StudyRecord,
    StudyShape,
)
from phonelm_search.core.workload import decode, prefill
from phonelm_search.store import schema as t
from phonelm_search.store.codec import Codec

MEASUREMENT = measurement(
    [3, 1, 2**40],
    workload=decode(7),
    peak_bytes=2**33,
    coverage=0.5,
    settled=False,
    drift=0.1,
    bandwidth_bytes_per_s=1e9,
    disturbance={"cpu_ns": [1, 2], "windows": [{"load": 0.5}]},
    protocol={"rounds": 3},
    verdict="suspect",
    reasons=(Reason(kind="x", what="x", remedy="y"), Reason(kind="z", what="z", rounds=2)),
    notes=("z",),
)
ESTIMATE = LatencyEstimate(
    shape_id="s", device="d", precision="fp32", workload=prefill(8), cache_mode="cold",
    environment_id="e", graph_version=1, protocol_version=2, latency_ms=2.0, ci_low_ms=1.9,
    ci_high_ms=2.2, intercept_ms=1.0, slope_ms=0.5, depths=(1, 2), verdict="valid", reasons=(),
    created_at="t",
)  # fmt: skip
CHECK = NumericsCheck(
    shape_id="s", precision="fp32", environment_id="e", graph_version=1, prefill_error=1e-6,
    decode_error=math.inf, limit=1e-4, created_at="t",
)  # fmt: skip
COMPILATION = Compilation(
    key="k", shape_id="s", layers=2, device="d", precision="int8", workload=prefill(8),
    provider_options={"soc": "1"}, versions={"ort": "2"}, graph_version=1,
    coverage=Coverage(
        provider="npu", nodes=9, fallbacks=(Fallback(op_type="Cos", count=2, flops_share=0.1),)
    ),
    errors={"logits": 0.1}, compile_seconds=1.5, context_bytes=10, package_version="0",
    created_at="t",
)  # fmt: skip
SCORE = score(
    small_shape(), 2.5, notes=("a",), rungs=((10, 4.0),), quantised={"int4": 2.6}, stopped=True
)
STUDY = StudyRecord(name="a", config={"x": [1]}, environment_id="e", environment={"k": "v"})
PART = StudyShape(shape_id="s", role="reference", name="n", reason="r", transient=True)
CODECS: dict[type, Codec[Any]] = {
    Measurement: Codec(Measurement, t.measurements),
    LatencyEstimate: Codec(LatencyEstimate, t.estimates),
    NumericsCheck: Codec(NumericsCheck, t.numerics),
    Compilation: Codec(Compilation, t.compilations),
    ProxyScore: Codec(ProxyScore, t.scores),
    StudyRecord: Codec(StudyRecord, t.studies),
    StudyShape: Codec(StudyShape, t.study_shapes),
}


@pytest.fixture
def engine() -> Engine:
    engine = create_engine("sqlite://")
    t.metadata.create_all(engine)
    return engine


def stored(
    engine: Engine, record: Any, changes: Mapping[str, Any] | None = None, **beside: Any
) -> Any:
    """A record written and read, with columns changed in between."""
    codec = CODECS[type(record)]
    table = codec._table
    with engine.begin() as connection:
        connection.execute(insert(table).values(**codec.row(record), **beside))
        if changes:
            connection.execute(update(table).values(**changes))
        (back,) = codec.records(connection.execute(select(table)))
    return back


@pytest.mark.parametrize(
    "record", [MEASUREMENT, ESTIMATE, COMPILATION, SCORE, STUDY], ids=lambda r: type(r).__name__
)
def test_a_record_comes_back_as_it_was(engine: Engine, record: Any) -> None:
    back = stored(engine, record)
    assert back == record
    assert repr(back) == repr(record)  # tuples, and floats that are whole numbers


def test_a_studys_part_comes_back_without_the_study(engine: Engine) -> None:
    assert stored(engine, PART, study="x") == PART


def test_columns_of_keys_are_those_of_the_record() -> None:
    row = CODECS[Measurement].row(MEASUREMENT)
    assert (row["key"], row["environment_id"]) == (MEASUREMENT.key, MEASUREMENT.environment_id)
    assert (row["phase"], row["tokens"], row["past_tokens"]) == ("decode", 1, 7)
    assert row.keys() == set(t.measurements.c.keys()) - {"id"}
    assert CODECS[LatencyEstimate].row(ESTIMATE)["key"] == ESTIMATE.key


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_error_that_is_no_number_is_null(engine: Engine, error: float) -> None:
    check = replace(CHECK, decode_error=error)
    assert CODECS[NumericsCheck].row(check)["decode_error"] is None
    back = stored(engine, check)
    assert math.isnan(back.decode_error)
    assert replace(back, decode_error=0.0) == replace(check, decode_error=0.0)


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        (MEASUREMENT, ("settled", "disturbance", "drift", "protocol", "coverage")),
        (SCORE, ("transient", "rungs", "quantised", "stopped")),
        (PART, ("transient",)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_an_older_schema_lacks_is_at_its_default(
    engine: Engine, record: Any, columns: tuple[str, ...]
) -> None:
    from sqlalchemy import null

    beside = {"study": "x"} if record is PART else {}
    back = stored(engine, record, {name: null() for name in columns}, **beside)
    given = {n: getattr(record, n) for n in type(record).__slots__ if n not in columns}
    assert back == type(record)(**given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "fine"}, "verdict is 'fine' in one: Input should be 'valid', 'suspect'"),
        ({"samples_ns": json.loads('[1, "x"]')}, r"samples_ns\.1 is 'x' in one: Input should be"),
        ({"tokens": 0}, r"workload is .* a decode step makes 1 token after a past of at least 1"),
    ],
)
def test_a_row_that_is_none_of_ours_is_one_line(
    engine: Engine, changes: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=f"rows of phonelm_measurements must be as .*{message}"):
        stored(engine, MEASUREMENT, changes)


def test_what_would_not_be_read_again_is_not_written() -> None:
    wrong: Any = {"threads": 2}
    with pytest.raises(StoreError, match=r"must hold what Measurement says: .*'environment'"):
        CODECS[Measurement].row(replace(MEASUREMENT, environment=wrong))
