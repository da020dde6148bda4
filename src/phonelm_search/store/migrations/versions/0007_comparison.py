"""Rounds are compared by the process that they share: what that takes, also of older rows.

What disturbed a process as a whole is no reason against its rounds any more, so such reasons go
and verdicts follow from what is left. Counters and samples stay as they were.
"""

import hashlib
import json
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Boolean, Column, Float, String

from phonelm_search.core.statistics import paired_medians
from phonelm_search.store.migrations.steps import add_columns

revision = "0007"
down_revision = "0006"

_COMMON = {
    "drift-slower", "drift-faster", "bandwidth", "other-processes", "other-guests", "taken-cores",
    "unsettled", "temperature-rose", "phone-slower", "phone-faster",
}  # fmt: skip
_REJECTED = {
    "clock", "limits-fell", "thermal-status-rose",
    "swapped-pages", "major-faults",
}  # fmt: skip
_REFERENCE = "w1024-l2-f3072-h16-kv8-relu-b2930c"  # its session was made last
_NEW = ("paired_ns", "serial", "process", "place", "verdict", "reasons")


def upgrade() -> None:
    """Add columns and fill them."""
    add_columns(
        "phonelm_measurements",
        Column("twin", Boolean),
        Column("paired_ns", Float),
        Column("serial", String(80)),
    )
    connection = op.get_bind()
    names = (
        "id", "shape_id", "phase", "tokens", "past_tokens", "cache_mode", "samples_ns",
        "conditions", "bandwidth_bytes_per_s", *_NEW[2:],
    )  # fmt: skip
    json_columns = {"samples_ns", "conditions", "reasons"}
    columns: dict[str, sa.ColumnClause[Any]] = {
        n: sa.column(n, sa.JSON) if n in json_columns else sa.column(n) for n in (*names, *_NEW)
    }
    table = sa.table("phonelm_measurements", *columns.values())
    found = connection.execute(sa.select(*(columns[n] for n in names)).order_by(columns["id"]))
    rows = [_filled(r._asdict()) for r in found]
    _place(rows)
    _pair(rows)
    if rows:
        update = table.update().where(columns["id"] == sa.bindparam("row"))
        values = {n: sa.bindparam(f"new_{n}", type_=columns[n].type) for n in _NEW}
        changed = [{"row": r["id"], **{f"new_{n}": r[n] for n in _NEW}} for r in rows]
        connection.execute(update.values(values), changed)


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    reasons = [r for r in row["reasons"] if r["kind"] not in _COMMON]
    broken = any(r["kind"] in _REJECTED for r in reasons)
    common = json.dumps([row["conditions"], row["bandwidth_bytes_per_s"]], sort_keys=True)
    return {
        **row,
        "serial": (row["conditions"].get("before") or {}).get("serial"),
        "process": row["process"] or hashlib.sha256(common.encode()).hexdigest()[:16],
        "verdict": "rejected" if broken else "suspect" if reasons else "valid",
        "reasons": reasons,
    }


def _place(rows: list[dict[str, Any]]) -> None:
    """Rows of a process were stored in the order of its sessions, but for the reference."""
    processes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["place"] is None:
            processes[row["process"]].append(row)
    for members in processes.values():
        shapes = list(dict.fromkeys(m["shape_id"] for m in members))
        shapes.sort(key=lambda shape: shape == _REFERENCE)
        for m in members:
            m["place"] = shapes.index(m["shape_id"])


def _pair(rows: list[dict[str, Any]]) -> None:
    """Models of a process took turns in prefill and in cold decode."""
    loops: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        in_turn = row["phase"] == "prefill" or row["cache_mode"] == "cold"
        apart = () if in_turn else (row["id"],)
        work = row["phase"], row["tokens"], row["past_tokens"], row["cache_mode"]
        loops[row["process"], *work, *apart].append(row)
    for members in loops.values():
        turns = min(len(m["samples_ns"]) for m in members)
        samples = [[max(1, s) for s in m["samples_ns"][:turns]] for m in members]
        for m, paired in zip(members, paired_medians(samples).tolist(), strict=True):
            m["paired_ns"] = paired
