"""Rows of a study as its report shows them, by columns: thousands of them repeat no names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from phonelm_search.core.memory import kv_cache_bytes
from phonelm_search.core.printable import visible
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, significant
from phonelm_search.quality import Score
from phonelm_search.reading import Pick, StudyView

Document = dict[str, Any]
Interval = list[float | None]
_PHASES: Mapping[str, str] = {"whole": "end_to_end", "prefill": "ttft", "decode": "tpot"}
"""Axis of each phase, and what it tells of `TimeColumns`."""
_OF_SHAPES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "ffn", "vocab_size", "tie_word_embeddings",
)  # fmt: skip


class _Texts:
    """Texts that many rows share, each kept once."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def places(self, texts: Iterable[str]) -> list[int]:
        """Where they stand in `known`."""
        return [self.known.setdefault(t, len(self.known)) for t in texts]


def row_columns(view: StudyView, pick: Pick | None) -> tuple[Document, list[str]]:
    """All rows, an entry each in every column; texts that the column `reasons` tells the places of.

    A value on an axis that does not exist is None; one with an interval is ``[value, low, high]``.
    """
    table = view.table
    if not len(table):
        return {"id": [], "values": {}}, []
    ids, names, shapes, judgements = table.ids, table.names, table.shapes, table.judgements
    chances, texts = view.front_probabilities, _Texts()
    picked = pick.row.shape.shape_id if pick else None
    tied = {r.shape.shape_id for r in pick.tied} if pick else set()
    told = list(zip(ids, [name is None for name in names], strict=True))
    phases = [j.phases[view.device.name] for j in judgements]
    columns = {
        "id": ids,
        "label": [visible(n) if n else s.label for n, s in zip(names, shapes, strict=True)],
        "reference": [name is not None for name in names],
        "kind": table.kinds,
        "device": table.devices,
        **{field: [getattr(s, field) for s in shapes] for field in _OF_SHAPES},
        "family": list(map(family, shapes)),
        "kv_groups": [s.kv_groups for s in shapes],
        "suspect": [j.verdict == "suspect" for j in judgements],
        "suspect_phase": [
            {"prefill": prefill == "suspect", "decode": decode == "suspect"}
            for prefill, decode in phases
        ],
        "reasons": [texts.places([*(r.text for r in j.reasons), *j.notes]) for j in judgements],
        "chance": [chances.get(i) if sampled else None for i, sampled in told],
        "pick": [sampled and i == picked for i, sampled in told],
        "tied": [sampled and i in tied for i, sampled in told],
        "values": _values(view),
    }
    return columns, list(texts.known)


def phase_keys(view: StudyView, phase: str) -> list[tuple[str, str]]:
    """Axis and device: one of each; milliseconds of different devices never share an axis."""
    first, *others = view.devices
    return [(phase, first), *((f"{phase} on {name}", name) for name in others)]


def _values(view: StudyView) -> dict[str, list[Interval | None]]:
    """What stands on axes, with the interval where there is one."""
    table, scheme = view.table, view.device.scheme
    times = {device: table.times(device) for device in view.devices}
    shapes = table.shapes
    return {
        "latency": _spans(table.latency),
        **{
            key: _spans(getattr(times[device], kind))
            for phase, kind in _PHASES.items()
            for key, device in phase_keys(view, phase)
        },
        "loss": _spans(100 * (table.loss - 1)),
        "bits_per_byte": [_bits(score) for score in table.scores],
        "quantised": _alone([s.quantised(scheme.name) if s else None for s in table.scores]),
        "peak": _alone(table.peak_bytes, 1e6),
        "weights": _alone([s.weight_bytes(scheme).total for s in shapes], 1e6),
        "kv": _alone([kv_cache_bytes(s, scheme, 1024) for s in shapes], 1e6),
        "decoder": _alone([s.decoder_parameters for s in shapes], 1e6),
        "parameters": _alone([s.parameters for s in shapes], 1e6),
    }


def _spans(extents: Floats) -> list[Interval | None]:
    """Of ``[n, 3]``; six digits: more cannot be told apart on a screen."""
    found: list[Interval | None] = significant(extents).tolist()
    return found


def _alone(values: Sequence[float | None], unit: float = 1.0) -> list[Interval | None]:
    told = significant(np.array(values, float) / unit).tolist()
    return [None if v is None else [t, None, None] for v, t in zip(values, told, strict=True)]


def _bits(score: Score | None) -> Interval | None:
    """Bits per byte of an earlier release's training."""
    if score is None or score.bits_per_byte is None:
        return None
    bits, half = score.bits_per_byte, score.interval
    if half is None:
        return _alone([bits])[0]
    return _spans(np.array([[bits, bits - half, bits + half]]))[0]


def family(shape: ModelShape) -> str:
    """What rows must share for one configuration to serve both but for their dimensions."""
    norms = (shape.rope_theta, shape.rms_norm_eps, shape.rope_scaling)
    return " ".join(map(str, (shape.ffn, shape.qkv_bias, shape.qk_norm, *norms)))
