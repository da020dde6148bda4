"""Parsing and messages that several commands need; imported only when a command runs."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from phonelm_search.cli.options import Format
from phonelm_search.cli.output import print_json, print_rows, say, tell
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.units import (
    format_count,
    format_counted,
    format_difference,
    format_seconds,
    parse_count,
)
from phonelm_search.outputs import Row, predicted_rows, study_rows
from phonelm_search.reading import (
    Pick,
    Regret,
    StudyRow,
    StudyView,
    current_pick,
    front_pairs,
    law_text,
    tokens_text,
    trust,
    worth_of,
)
from phonelm_search.store import masked

if TYPE_CHECKING:  # commands that only read a study load neither Optuna nor ONNX
    from phonelm_search.quality import ScoreSettings
    from phonelm_search.stages import DryRun, Setup

_COLUMNS = (
    ("name", "reference"),
    ("shape_id", "shape"),
    ("decoder_parameters", "decoder parameters"),
    ("prefill_ms", "prefill ms"),
    ("decode_ms", "decode ms"),
    ("tokens_per_s", "tokens/s"),
    ("relative_latency", "end to end"),
    ("relative_interval", "95 %"),
    ("latency_ms", "end-to-end ms"),
    ("device", "worst on"),
    ("kind", "kind"),
    ("estimate_ms", "by blocks ms"),
    ("loss", "loss by the law"),
    ("prior_share", "of it prior"),
    ("equal", "as good as"),
    ("front_probability", "P(front)"),
    ("bits_per_byte", "bits/byte"),
    ("score_ci", "±"),
    ("quantised_bits_per_byte", "quantised"),
    ("seeds", "seeds"),
    ("front", "front"),
    ("verdict", "verdict"),
)
_OF_A_PLACE = ("--serial", "--address", "--artifacts")
_FIRST = (
    "shape_id", "relative_latency", "loss", "name", "verdict", "latency_ms", "decoder_parameters",
    "device", "relative_interval", "tokens_per_s", "front_probability", "prefill_ms", "decode_ms",
)  # fmt: skip
"""Of those, what a narrow terminal shows longest."""


def parse_score_settings(
    tokens_per_parameter: float, budget: str, seed: int, *, minutes: float
) -> "ScoreSettings":
    """What the options of training say.

    Raises:
        ConfigurationError: If ``--proxy-parameters`` is no count and not ``full``.
    """
    from phonelm_search.quality import ScoreSettings

    parameters = None if budget == "full" else _count("--proxy-parameters", budget, ", or full")
    return ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=parameters, seed=seed, minutes=minutes
    )


def parse_train_tokens(text: str | None) -> float | None:
    """What ``--train-tokens`` says.

    Raises:
        ConfigurationError: If it is no count.
    """
    return None if text is None else float(_count("--train-tokens", text))


def _count(option: str, text: str, otherwise: str = "") -> int:
    try:
        count = parse_count(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}{otherwise}") from error
    if count < 1:
        raise ConfigurationError(f"{option} must be positive{otherwise}, got {text}")
    return count


def show_dry_run(setup: "Setup", plan: "DryRun", trials: int, *, as_json: bool) -> None:
    """Print what a run of so many trials in total would do."""
    names = [w.name for w in setup.goals.workloads]
    devices = ", ".join(d.name for d in setup.devices)
    if as_json:
        print_json(
            [],
            study=setup.study,
            feasible_shapes=plan.shapes,
            references=plan.references,
            trials=plan.trials,
            finished_trials=plan.finished.trials,
            finished_references=plan.finished.references,
            workloads=names,
            objectives=list(setup.goals.objectives),
            trainings=len(plan.rungs),
            tokens=sum(r.tokens for r in plan.rungs),
            search_seconds=round(plan.search_seconds),
            score_seconds=round(plan.score_seconds),
        )
        return
    sizes = [r.shape.decoder_parameters for r in plan.rungs]
    tell(
        f"study {setup.study}: {format_counted(plan.shapes, 'feasible shape')}, objectives "
        f"{', '.join(setup.goals.objectives)}"
    )
    tell(
        f"would measure {_asked_trials(plan, trials)} and {_asked_references(plan)} "
        f"({', '.join(names)}; {setup.device.precision} on {devices}): "
        f"about {format_seconds(plan.search_seconds)}"
    )
    tell(
        f"would train {format_counted(len(sizes), 'relative')} of "
        f"{format_count(min(sizes, default=0))} to "
        f"{format_count(max(sizes, default=0))} decoder parameters: about "
        f"{format_seconds(plan.score_seconds)}"
    )
    say("estimates for a quiet machine; nothing was measured")


def _asked_trials(plan: "DryRun", trials: int) -> str:
    """Trials to measure, and those that are there."""
    done = plan.finished.trials
    if not done:
        return format_counted(plan.trials, "trial")
    there = f"{done:,} of {trials:,} are there" if done <= trials else f"{done:,} are there"
    return f"{format_counted(plan.trials, 'more trial')} ({there})"


def _asked_references(plan: "DryRun") -> str:
    """The same of known models."""
    text, done = format_counted(plan.references, "reference"), plan.finished.references
    return f"{text} ({done:,} of {plan.references:,} are there)" if done else text


def show_study(
    view: StudyView, rows: Iterable[StudyRow], *, predicted: int = 0, as_json: bool,
    fmt: Format = "table",
) -> None:  # fmt: skip
    """Print rows of a study, and as many that were predicted."""
    if as_json:
        print_json(study_rows(view, rows) + predicted_rows(view, predicted))
        return
    pick, shown = current_pick(view), list(rows)
    if pick is not None and fmt in ("table", "md") and pick.row not in shown:
        shown.append(pick.row)  # within budgets it need not be on the front
    _print_study(view, study_rows(view, shown) + predicted_rows(view, predicted), fmt)
    if pick is not None:
        _tell_pick(pick, say)
        say(f"  {_by_law(view, pick)}")
        say(f"  {tokens_text(view)}")


def show_regret(cells: Sequence[Regret], *, as_json: bool, fmt: Format) -> None:
    """Print the cross-device regret matrix."""
    if as_json or fmt in ("csv", "jsonl"):
        rows = [asdict(c) for c in cells]
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, (), fmt)
        return
    names = list(dict.fromkeys(c.front_of for c in cells))
    table = []
    for a in names:
        row: Row = {"front": a}
        row |= {c.used_on: _regret_text(c) for c in cells if c.front_of == a}
        table.append(row)
    columns = [("front", "front of ↓ used on →"), *((n, n) for n in names)]
    print_rows(table, columns, fmt, title="extra latency: mean, worst over the own front")
    if any(c.mean is None for c in cells):
        say("–: only the front itself was measured there; `profile --study STUDY --all --device B`")


def _regret_text(cell: Regret) -> str:
    if cell.mean is None or cell.worst is None:
        return "–"
    return f"{cell.mean:.1%}, {cell.worst:.1%}"


def _print_study(view: StudyView, rows: Sequence[Row], fmt: Format) -> None:
    """Rows for people with both ends of an interval in one cell."""
    columns = _columns(rows)
    if fmt not in ("csv", "jsonl"):
        rows = [
            {
                **r,
                "relative_interval": f"{r['relative_low']:.3g} to {r['relative_high']:.3g}",
                "loss": format_difference(
                    *(r[f"relative_loss{end}"] for end in ("", "_low", "_high"))
                ),
                "prior_share": None if r["prior_share"] is None else f"{r['prior_share']:.0%}",
                "equal": _equal(r),
                "front_probability": None
                if r["front_probability"] is None
                else f"{r['front_probability']:.0%}",
            }
            for r in rows
        ]
    print_rows(rows, columns, fmt, title=_title(view), first=_FIRST)


def _equal(row: Row) -> str | None:
    """Size of the smallest shape that is as good, and the time beside it."""
    size, ratio = row["equal_parameters"], row["equal_latency"]
    if size is None:
        return None
    return f"{format_count(size)}, {100 * (ratio - 1):+.0f} % time"


def _columns(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Columns of the table; several devices and the front only where that says anything."""
    hidden: set[str] = set()
    if not any(r["estimate_ms"] is not None for r in rows):
        hidden.add("estimate_ms")
    if {r["kind"] for r in rows} <= {"measured"}:
        hidden.add("kind")
    if len({r["device"] for r in rows}) < 2:
        hidden.add("device")
    if all(r["front"] for r in rows if r["name"] is None):
        hidden.add("front")
    if not any(r["equal_parameters"] is not None for r in rows):
        hidden.add("equal")
    if not any(r["bits_per_byte"] is not None for r in rows):  # of earlier releases alone
        hidden |= {"bits_per_byte", "score_ci", "quantised_bits_per_byte", "seeds"}
    return [c for c in _COLUMNS if c[0] not in hidden]


def pick_line(pick: Pick) -> str:
    """The pick in one line, called provisional where it is."""
    state = "PROVISIONAL PICK" if pick.provisional else "PICK"
    return f"{state}: {pick.row.shape.shape_id}, {pick.why}."


def _tell_pick(pick: Pick, aloud: Callable[[str], object]) -> None:
    aloud(pick_line(pick))
    for doubt in pick.provisional:
        aloud(f"  provisional: {doubt}")


def show_pick(view: StudyView, pick: Pick, *, as_json: bool, fmt: Format = "table") -> None:
    """Print the front, the references, and the pick with its reasons."""
    front = {r.shape.shape_id for r in view.front}
    table = view.table
    shown = [bool(name) or i in front for name, i in zip(table.names, table.ids, strict=True)]
    rows = study_rows(view, list(table.only(shown)))
    if as_json:
        verdict = {
            "shape_id": pick.row.shape.shape_id,
            "why": pick.why,
            "provisional": list(pick.provisional),
            "tied": [r.shape.shape_id for r in pick.tied],
            "equals": [r.shape.shape_id for r in pick.equals],
        }
        print_json(rows, pick=verdict, pairs=front_pairs(view), trust=trust(view))
        return
    _print_study(view, rows, fmt)
    aloud = tell if fmt == "table" else say
    aloud("")
    _tell_pick(pick, aloud)
    if (found := worth_of(view, pick.row)) is not None and found.text:
        aloud(f"  worth: {found.text}")
    if pick.equals:
        aloud(f"  as good, within 1 % on both axes: {pick.equal_text}")
    aloud(f"  {_by_law(view, pick)}")
    aloud(f"  {tokens_text(view)}")
    aloud(f"  {trust(view)}")


def _by_law(view: StudyView, pick: Pick) -> str:
    """What the pick gives, and where what is said of its loss comes from."""
    return (
        f"{pick.row.latency_text}; loss {format_difference(*pick.row.loss)} against "
        f"{view.baseline} after {format_count(view.train_tokens)} tokens; "
        f"{law_text(view, pick.row)}"
    )


def _title(view: StudyView) -> str:
    """Headline of a study's table, with what its shares are of."""
    precision = view.device.precision
    text = f"{view.record.name}: {view.scenario} on {', '.join(view.devices)}, {precision}"
    if view.baseline:
        text += f"; end to end as a share of {view.baseline}, loss against it after "
        text += f"{format_count(view.train_tokens)} tokens"
    return text


def command_line(context: typer.Context) -> str:
    """The command as it was typed, for the study to keep: without passwords and what is of a place.

    That is phones' serials, and where a cluster is.
    """
    words: list[str] = ["phonelm-search"]
    given = iter(context.find_root().obj)
    for word in given:
        name, equals, value = word.partition("=")
        if name not in ("--storage", *_OF_A_PLACE):
            words.append(word)
            continue
        value = value if equals else next(given, "")
        if name == "--storage":
            words += [name, masked(value)]
    return shlex.join(words)
