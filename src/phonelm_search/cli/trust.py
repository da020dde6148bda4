"""How far a score may be trusted, in words and as a table."""

from collections.abc import Sequence

import typer

from phonelm_search.cli.options import Format
from phonelm_search.cli.output import print_json, print_rows
from phonelm_search.outputs import Row, sensitivity_rows
from phonelm_search.quality import Order, Validation
from phonelm_search.reading import Sensitivity, StudyView, trust

_COLUMNS = (
    ("name", "order by"),
    ("against", "against"),
    ("kendall", "τ"),
    ("kendall_interval", "95 %"),
    ("concordance", "resolved pairs in order"),
    ("concordance_interval", "95 %"),
    ("regret_top1", "regret of the first"),
    ("regret_top3", "of the best of three"),
)


def validation_rows(found: Validation) -> list[Row]:
    """A row an order, for programs and the table."""
    return [_row(order) for order in found.orders]


def show_validation(view: StudyView, *, as_json: bool, fmt: Format) -> None:
    """Print how orders agree."""
    found = view.validation
    assert found is not None
    rows = validation_rows(found)
    if as_json:
        print_json(rows, shapes=list(found.shape_ids), seeds=list(found.seeds))
        return
    if fmt in ("csv", "jsonl"):
        print_rows(rows, (), fmt)
        return
    print_rows(
        _texts(rows), _COLUMNS, fmt,
        title=f"{view.record.name}: {len(found.shape_ids)} shapes, scored on "
        f"{found.tokens_per_parameter:.2g} tokens per parameter, held against "
        f"{found.long_tokens_per_parameter:.2g}",
    )  # fmt: skip
    typer.echo(f"\n{trust(view)}", err=fmt != "table")


def show_sensitivity(found: Sensitivity, *, as_json: bool, fmt: Format) -> None:
    """Print spreads and effects."""
    rows = sensitivity_rows(found)
    if as_json:
        print_json(rows, claim=found.claim, trained=found.trained, seeds=found.seeds)
        return
    if fmt in ("csv", "jsonl"):
        print_rows(rows, (), fmt)
        return
    texts = [
        {
            **row,
            "what": row["dimension"] or "between shapes",
            "range": f"{row['low']} → {row['high']}",
            "percent": f"{row['percent']:+.1f} %"
            if row["dimension"]
            else f"{row['percent']:.1f} %",
            "interval": "–"
            if row["ci_low_percent"] is None
            else f"{row['ci_low_percent']:.1f} to {row['ci_high_percent']:.1f}",
        }
        for row in rows
    ]
    columns = (
        ("quantity", "quantity"), ("what", "moved by"), ("range", "from → to"),
        ("percent", "moves"), ("interval", "95 %"),
    )  # fmt: skip
    print_rows(
        texts, columns, fmt,
        title=f"{len(found.shapes)} shapes of equal decoder size; trained: {found.trained}",
    )  # fmt: skip
    typer.echo(f"\n{found.claim}", err=fmt != "table")


def _row(order: Order) -> Row:
    found = order.agreement
    return {
        "name": order.name,
        "against": order.against,
        "spearman": found.spearman,
        "kendall": found.kendall,
        "kendall_interval": list(found.kendall_interval or ()),
        "concordance": found.concordance,
        "concordance_interval": list(found.concordance_interval or ()),
        "resolved": found.resolved,
        **{f"regret_top{k}": v for k, v in found.regret.items()},
    }


def _texts(rows: Sequence[Row]) -> list[Row]:
    """The same as a person reads it."""
    return [
        {
            **row,
            "kendall": _tau(row["kendall"]),
            "kendall_interval": _range(row["kendall_interval"], ".2f"),
            "concordance": f"{_share(row['concordance'])} of {row['resolved']}",
            "concordance_interval": _range(row["concordance_interval"], ".0%"),
            "regret_top1": f"{row['regret_top1']:.3f}",
            "regret_top3": f"{row['regret_top3']:.3f}",
        }
        for row in rows
    ]


def _tau(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _range(ends: Sequence[float], style: str) -> str:
    return " to ".join(format(x, style) for x in ends) if ends else "–"
