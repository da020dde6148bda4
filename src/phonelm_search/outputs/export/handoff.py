"""The hand-off of a shape: what its training and deployment begin with, in one folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phonelm_search import __version__
from phonelm_search.core.errors import (
    ExportError,
    UnsupportedConfigError,
    UnsupportedShapeError,
    unwritable,
)
from phonelm_search.core.latency import ScenarioTime
from phonelm_search.core.memory import CONTEXTS, kv_cache_bytes
from phonelm_search.core.printable import markdown_text, visible
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_bytes, format_count, format_ms
from phonelm_search.outputs.export.litgpt import export_litgpt
from phonelm_search.outputs.export.winner import export_hf, export_onnx
from phonelm_search.reading import (
    StudyRow,
    StudyView,
    current_pick,
    environments,
    law_text,
    trust,
    worth_of,
)
from phonelm_search.work import folder_under_way

_CARD = "README.md"
_PARTS = (
    "config.json", "litgpt.yaml", "model.onnx", "model.onnx.data", "genai_config.json", "proxy",
    _CARD,
)  # fmt: skip
"""Of this release and earlier ones, which wrote ``proxy``, too."""
_MARK = "<!-- a hand-off of phonelm-search -->"


def hand_off(view: StudyView, row: StudyRow, folder: Path) -> list[str]:
    """Write a shape of a study for those who train and deploy it.

    ``config.json`` for transformers, ``litgpt.yaml``, the measured graph with
    ``genai_config.json``, ``README.md``. An earlier hand-off in the folder is replaced, whatever it
    held; other files stay.

    Args:
        view: The study.
        row: The shape.
        folder: Where to write.

    Returns:
        What could not be written and why, a line each.

    Raises:
        ExportError: If the folder cannot be written, or holds a README.md of somebody else.
    """
    try:
        _check_ours(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with folder_under_way(".handing-off-", folder) as fresh:
            missing = _write_parts(view, row, fresh)
            card = _card(view, row, {p.name for p in fresh.iterdir()}, missing)
            (fresh / _CARD).write_text(_render(card), encoding="utf-8")
            for part in _PARTS:
                _remove(folder / part)
                if (fresh / part).exists():
                    (fresh / part).replace(folder / part)
    except OSError as error:
        raise ExportError(unwritable(folder, error)) from error
    return missing


def _check_ours(folder: Path) -> None:
    card = folder / _CARD
    if card.exists() and _MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(
            f"{folder} must hold no README.md but that of an earlier hand-off; take another -o"
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_parts(view: StudyView, row: StudyRow, folder: Path) -> list[str]:
    missing: list[str] = []
    shape = row.shape
    for name, write in (
        ("config.json", lambda: export_hf(shape, folder)),
        ("litgpt.yaml", lambda: export_litgpt(shape, folder)),
        ("model.onnx", lambda: _graph(view, shape, folder)),
    ):
        try:
            write()
        except (ExportError, UnsupportedConfigError, UnsupportedShapeError) as error:
            if isinstance(error.__cause__, OSError):
                raise
            missing.append(f"no {name}: {error}")
    return missing


def _graph(view: StudyView, shape: ModelShape, folder: Path) -> None:
    if view.device.is_accelerated("decode"):
        raise ExportError("the measured graphs were compiled for a chip")
    export_onnx(shape, view.device.scheme, folder)


def _escape(value: Any) -> Any:
    """What a template's field becomes; Markup stays as it is."""
    return markdown_text(value) if type(value) is str else value


def _render(card: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("phonelm_search.outputs.export", "assets"),
        autoescape=False,  # noqa: S701 - Markdown: `finalize` escapes
        finalize=_escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("card.md").render(card)
    return text.encode("utf-8", "replace").decode("utf-8")


def _card(view: StudyView, row: StudyRow, files: set[str], missing: list[str]) -> dict[str, Any]:
    pick = current_pick(view)
    picked = pick is not None and row.name is None and pick.row.shape == row.shape
    shape, scheme = row.shape, view.device.scheme
    return {
        "shape": shape,
        "weights": format_bytes(shape.weight_bytes(scheme).total),
        "study": view.record.name,
        "scenario": str(view.scenario),
        "precision": str(view.device.precision),
        "pick": pick if picked else None,
        "relative": row.latency_text,
        "worth": found.text if (found := worth_of(view, row)) else "",
        "times": [(device, list(_times(time))) for device, time in row.times.items()],
        "verdict": row.verdict,
        "reasons": [r.text for r in row.reasons],
        "notes": row.notes,
        "kind": row.kind,
        "loss": row.loss,
        "baseline": row.baseline,
        "train_tokens": format_count(view.train_tokens),
        "source": law_text(view, row),
        "scheme": scheme.name,
        "trust": trust(view),
        "memory": [(f"{n:,}", format_bytes(kv_cache_bytes(shape, scheme, n))) for n in CONTEXTS],
        "kv_bytes": scheme.kv_bytes_per_element,
        "peak": format_bytes(row.peak_bytes) if row.peak_bytes else None,
        "environments": environments(view.record),
        "commands": [
            Markup(visible(c["command"]))  # noqa: S704 - stands in a block of code
            for c in view.record.config.get("commands", [])
        ],
        "files": files,
        "mark": Markup(_MARK),  # noqa: S704 - ours
        "missing": missing,
        "version": __version__,
    }


def _times(time: ScenarioTime) -> Iterator[tuple[str, str]]:
    """Times of the scenario with their 95 % intervals."""
    for name, span in (
        ("prefill (TTFT)", time.ttft),
        ("decode (TPOT)", time.tpot),
        ("end to end", time.end_to_end),
    ):
        yield (
            name,
            f"{format_ms(span.ms)} ms ({format_ms(span.low_ms)} to {format_ms(span.high_ms)})",
        )
