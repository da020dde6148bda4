"""What the report shows of a study, as one JSON document; nothing is drawn here."""

from collections.abc import Sequence
from typing import Any

from phonelm_search import __version__
from phonelm_search.core.errors import UnsupportedConfigError
from phonelm_search.core.hf_config import to_hf_config
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import significant
from phonelm_search.core.units import format_count
from phonelm_search.outputs import advise, next_steps, resolution_sentences
from phonelm_search.outputs.report.evidence import device_cards, time_spent
from phonelm_search.outputs.report.rounds import study_rounds
from phonelm_search.outputs.report.row_columns import family, phase_keys, row_columns
from phonelm_search.reading import (
    FailedShape,
    Pick,
    StudyView,
    current_pick,
    longest_trainings,
    tokens_text,
    trust,
)
from phonelm_search.space import ParameterTarget
from phonelm_search.store import Store

Document = dict[str, Any]
_CURVE_POINTS = 200  # of one training; more cannot be told apart on a screen


def document(store: Store, view: StudyView) -> Document:
    """Collect a study.

    Args:
        store: The database, for rounds and conditions.
        view: The study.

    Returns:
        A JSON document. A value that does not exist is None; one with an interval is
        ``[value, low, high]``.
    """
    pick = current_pick(view)
    rows, texts = row_columns(view, pick)
    rounds = study_rounds(store, view)
    return {
        "study": view.record.name,
        "version": __version__,
        "scenario": str(view.scenario),
        "devices": list(view.devices),
        "precision": str(view.device.precision),
        "axes": _axes(view),
        "reference": view.baseline,
        "rows": rows,
        "texts": texts,
        "configs": _configs(view.table.shapes),
        "failed": [_failed(f) for f in view.failed],
        "pick": _pick(pick),
        "advice": list(advise(view, pick)) if pick else [],
        "modelled": _modelled(view),
        "limits": _limits(view),
        "trust": trust(view),
        "tokens": tokens_text(view),
        "checked": list(resolution_sentences(view)),
        "next": [list(step) for step in next_steps(view)],
        "curves": list(map(_curve, longest_trainings(view.trainings))),
        "estimated": "estimated" in view.table.kinds,
        "time": time_spent(view, rounds),
        "cards": device_cards(view, rounds.places),
        "commands": list(view.record.config.get("commands", [])),
        "settings": _settings(view),
    }


def _axes(view: StudyView) -> list[Document]:
    """What can stand on an axis; ``better`` tells the direction, where there is one."""
    where = ", ".join(view.devices)
    several = len(view.devices) > 1
    unit = f"× {view.baseline}"
    answer = " and ".join(map(str, view.scenario.contexts))

    def on(device: str) -> str:
        return f" on {device}" if several else ""

    told = (
        ("latency", f"end-to-end, {view.scenario}, on {where} [{unit}]", "low"),
        *(
            (key, f"end-to-end, {view.scenario}{on(device)} [ms]", "low")
            for key, device in phase_keys(view, "whole")
        ),
        *(
            (key, f"prefill of {view.scenario.prompt_tokens} tokens (TTFT){on(device)} [ms]", "low")
            for key, device in phase_keys(view, "prefill")
        ),
        *(
            (key, f"decode step at {answer} tokens (TPOT){on(device)} [ms]", "low")
            for key, device in phase_keys(view, "decode")
        ),
        (
            "loss",
            f"loss by the law after {format_count(view.train_tokens)} tokens "
            f"[% against {view.baseline}]",
            "low",
        ),
        ("bits_per_byte", "validation bits per byte", "low"),
        ("quantised", f"validation bits per byte after {view.device.scheme.name}", "low"),
        ("peak", "peak memory [MB]", "low"),
        ("weights", f"weights in {view.device.scheme.name} [MB]", "low"),
        ("kv", "KV cache per 1,024 tokens [MB]", "low"),
        ("decoder", "decoder parameters [M]", "high"),
        ("parameters", "parameters, embedding included [M]", "high"),
    )
    return [{"key": key, "label": label, "better": better} for key, label, better in told]


def _configs(shapes: Sequence[ModelShape]) -> dict[str, Document]:
    """``config.json`` of each family; a row's own fields go over it."""
    found: dict[str, Document] = {}
    for shape in shapes:
        if family(shape) not in found:
            try:
                found[family(shape)] = to_hf_config(shape)
            except UnsupportedConfigError:
                continue
    return found


def _failed(found: FailedShape) -> Document:
    return {
        "id": found.shape.shape_id,
        "label": found.name or found.shape.label,
        "reason": found.reason,
    }


def _modelled(view: StudyView) -> Document | None:
    """All shapes as models tell them: their front with its band, and how many lie where."""
    found = view.modelled
    if found is None:
        return None
    front = found.front()
    low, high = found.latency_interval(front)
    columns = {
        "x": found.latency[front], "x_low": low, "x_high": high,
        "y": 100 * (found.loss[front] - 1),
    }  # fmt: skip
    density = found.density
    return {
        "shapes": found.count,
        "front": {
            **{name: significant(values).tolist() for name, values in columns.items()},
            "label": [found.shape(int(i)).label for i in front],
        },
        "counts": density.counts.T.astype(int).tolist(),
        "x": significant(density.latency).tolist(),
        "y": significant(100 * (density.loss - 1)).tolist(),
    }


def _limits(view: StudyView) -> list[Document]:
    """Budgets where one axis shows them."""
    keys = {"ttft": "prefill", "tpot": "decode", "latency": "whole", "loss": "loss"}
    if not view.rows:
        return []
    names = {device: i for i, device in enumerate(view.devices)}
    found = []
    for budget in view.budgets:
        key = keys.get(budget.quantity)
        if key is None:
            continue
        value = 100 * (budget.limit - 1) if key == "loss" else budget.limit
        if key != "loss" and budget.device and names[budget.device]:
            key = f"{key} on {budget.device}"
        found.append({"axis": key, "value": value, "text": budget.text})
        if key == "whole" and len(view.devices) == 1:
            share = value / view.unit_ms
            found.append({"axis": "latency", "value": share, "text": budget.text})
    return found


def _pick(pick: Pick | None) -> Document | None:
    if pick is None:
        return None
    return {
        "id": pick.row.shape.shape_id,
        "label": pick.row.label,
        "why": pick.why,
        "provisional": list(pick.provisional),
        "equals": pick.equal_text,
    }


def _curve(training: ProxyScore) -> Document:
    curve = training.curve
    kept = curve[:: max(1, len(curve) // _CURVE_POINTS)]
    return {
        "id": f"{training.shape_id} {training.seed}",
        "label": ModelShape(**training.trained).label,
        "tokens": [tokens for tokens, _ in kept],
        "bits": [round(bits, 4) for _, bits in kept],
        "final": training.bits_per_byte,
        "end": training.tokens,
        "stopped": training.stopped,
    }


def _settings(view: StudyView) -> list[list[str]]:
    """What the study was started with, in words."""
    config = view.record.config
    space = config["space"]
    told = [["space", space["name"]], ["objectives", ", ".join(config["objectives"])]]
    if size := space.get("parameters"):
        told.append(
            [
                "size",
                str(ParameterTarget.model_validate(size)),
            ]
        )
    versions = config.get("versions", {})
    told += [[f"{name} version", str(number)] for name, number in versions.items()]
    if view.trainings:
        sizes = sorted(ModelShape(**t.trained).decoder_parameters for t in view.trainings)
        told += [
            ["trainings", str(len(view.trainings))],
            ["trained sizes", f"{format_count(sizes[0])} to {format_count(sizes[-1])}"],
            ["text", ", ".join((config.get("score") or {}).get("data", [])) or "embedded"],
        ]
    return told
