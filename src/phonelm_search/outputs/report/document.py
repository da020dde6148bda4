"""What the report shows of a study, as one JSON document; nothing is drawn here."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from phonelm_search import __version__
from phonelm_search.core.errors import UnsupportedConfigError
from phonelm_search.core.hf_config import to_hf_config
from phonelm_search.core.judgement import worst_verdict
from phonelm_search.core.latency import Extent, ScenarioTime, Span
from phonelm_search.core.memory import kv_cache_bytes
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count
from phonelm_search.outputs import advise, next_steps, resolution_sentences
from phonelm_search.outputs.report.evidence import (
    device_cards,
    rounds_of_places,
    time_spent,
)
from phonelm_search.reading import (
    FailedShape,
    Pick,
    StudyRow,
    StudyView,
    current_pick,
    longest_trainings,
    tokens_text,
    trust,
)
from phonelm_search.space import ParameterTarget
from phonelm_search.store import Store

Document = dict[str, Any]
Interval = list[float | None]
_Told = Callable[[ScenarioTime], Span]
_TIMES: Mapping[str, _Told] = {
    "whole": attrgetter("end_to_end"), "prefill": attrgetter("ttft"), "decode": attrgetter("tpot"),
}  # fmt: skip
"""What each phase's axis tells of a row's time."""
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
    texts = _Texts()
    rounds = rounds_of_places(store, view)
    return {
        "study": view.record.name,
        "version": __version__,
        "scenario": str(view.scenario),
        "devices": list(view.devices),
        "precision": str(view.device.precision),
        "axes": _axes(view),
        "reference": view.baseline,
        "rows": _rows(view, pick, texts),
        "texts": texts.known,
        "configs": _configs(view.rows),
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
        "estimated": any(r.kind == "estimated" for r in view.rows),
        "time": time_spent(store, view, rounds),
        "cards": device_cards(view, rounds),
        "commands": list(view.record.config.get("commands", [])),
        "settings": _settings(view),
    }


class _Texts:
    """Texts that many rows share, each kept once."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._places: dict[str, int] = {}

    def places(self, texts: Sequence[str]) -> list[int]:
        """Where they stand in `known`."""
        for text in texts:
            if text not in self._places:
                self._places[text] = len(self.known)
                self.known.append(text)
        return [self._places[t] for t in texts]


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
            for key, device in _phase_keys(view, "whole")
        ),
        *(
            (key, f"prefill of {view.scenario.prompt_tokens} tokens (TTFT){on(device)} [ms]", "low")
            for key, device in _phase_keys(view, "prefill")
        ),
        *(
            (key, f"decode step at {answer} tokens (TPOT){on(device)} [ms]", "low")
            for key, device in _phase_keys(view, "decode")
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


def _phase_keys(view: StudyView, phase: str) -> list[tuple[str, str]]:
    """Axis and device: one of each; milliseconds of different devices never share an axis."""
    first, *others = view.devices
    return [(phase, first), *((f"{phase} on {name}", name) for name in others)]


def _rows(view: StudyView, pick: Pick | None, texts: _Texts) -> list[Document]:
    chances = view.front_probabilities
    picked = pick.row.shape.shape_id if pick else None
    tied = {r.shape.shape_id for r in pick.tied} if pick else set()
    times = [
        (key, device, told)
        for phase, told in _TIMES.items()
        for key, device in _phase_keys(view, phase)
    ]
    found = []
    for shape_id, row in zip(view.table.ids, view.rows, strict=True):
        sampled = row.name is None
        first = row.times[view.device.name]
        suspect = {
            "prefill": first.prefill.verdict == "suspect",
            "decode": worst_verdict(first.steps) == "suspect",
        }
        found.append(
            {
                "id": shape_id,
                "label": row.label,
                "reference": not sampled,
                "kind": row.kind,
                "device": row.device,
                "hidden_size": row.shape.hidden_size,
                "intermediate_size": row.shape.intermediate_size,
                "num_hidden_layers": row.shape.num_hidden_layers,
                "num_attention_heads": row.shape.num_attention_heads,
                "num_key_value_heads": row.shape.num_key_value_heads,
                "head_dim": row.shape.head_dim,
                "hidden_act": row.shape.hidden_act,
                "ffn": row.shape.ffn,
                "vocab_size": row.shape.vocab_size,
                "tie_word_embeddings": row.shape.tie_word_embeddings,
                "family": _family(row.shape),
                "kv_groups": row.shape.kv_groups,
                "values": _values(row, view, times),
                "suspect": row.verdict == "suspect",
                "suspect_phase": suspect,
                "reasons": texts.places([*(r.text for r in row.reasons), *row.notes]),
                "chance": chances.get(shape_id) if sampled else None,
                "pick": sampled and shape_id == picked,
                "tied": sampled and shape_id in tied,
            }
        )
    return found


def _values(
    row: StudyRow, view: StudyView, times: Sequence[tuple[str, str, _Told]]
) -> dict[str, Interval | None]:
    """What stands on axes: value, lower and upper end of the interval where there is one."""
    shape, scheme = row.shape, view.device.scheme
    half = row.score.interval if row.score else None
    bits = row.bits_per_byte
    quantised = row.score.quantised(scheme.name) if row.score else None
    return {
        "latency": _span(row.latency),
        **{key: _span(told(row.times[device])) for key, device, told in times},
        "loss": _rounded(*(100 * (share - 1) for share in row.loss)),
        "bits_per_byte": _rounded(bits, bits - half, bits + half)
        if bits is not None and half is not None
        else _alone(bits),
        "quantised": _alone(quantised),
        "peak": _alone(row.peak_bytes, 1e6),
        "weights": _alone(shape.weight_bytes(scheme).total, 1e6),
        "kv": _alone(kv_cache_bytes(shape, scheme, 1024), 1e6),
        "decoder": _alone(shape.decoder_parameters, 1e6),
        "parameters": _alone(shape.parameters, 1e6),
    }


def _rounded(*values: float) -> Interval:
    return [float(f"{v:.6g}") for v in values]


def _span(span: Span | Extent) -> Interval:
    return _rounded(*span)


def _alone(value: float | None, unit: float = 1.0) -> Interval | None:
    return None if value is None else [*_rounded(value / unit), None, None]


def _configs(rows: Sequence[StudyRow]) -> dict[str, Document]:
    """``config.json`` of each family; a row's own fields go over it."""
    found: dict[str, Document] = {}
    for row in rows:
        if _family(row.shape) not in found:
            try:
                found[_family(row.shape)] = to_hf_config(row.shape)
            except UnsupportedConfigError:
                continue
    return found


def _family(shape: ModelShape) -> str:
    """What rows must share for one configuration to serve both but for their dimensions."""
    norms = (shape.rope_theta, shape.rms_norm_eps, shape.rope_scaling)
    return " ".join(map(str, (shape.ffn, shape.qkv_bias, shape.qk_norm, *norms)))


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
            **{name: _rounded(*values.tolist()) for name, values in columns.items()},
            "label": [found.shape(int(i)).label for i in front],
        },
        "counts": density.counts.T.astype(int).tolist(),
        "x": _rounded(*density.latency.tolist()),
        "y": _rounded(*(100 * (density.loss - 1)).tolist()),
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
        "equals": pick.equal_names,
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
