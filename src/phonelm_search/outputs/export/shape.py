"""One shape of a study, handed off as a person asks for it."""

from pathlib import Path
from typing import Literal

from phonelm_search.outputs.export.handoff import hand_off
from phonelm_search.outputs.export.winner import export_hf, export_onnx
from phonelm_search.reading import StudyRow, StudyView, choose, find_row


def export_shape(
    view: StudyView,
    output: Path,
    *,
    shape: str | None = None,
    to: Literal["all", "hf", "onnx"] = "all",
) -> tuple[Path, StudyRow, tuple[str, ...]]:
    """Write what training and deployment begin with.

    Args:
        view: The study.
        output: Folder to write into.
        shape: As `reading.find_row` takes it; None: the pick.
        to: Everything, ``config.json`` alone, or the measured graph alone.

    Returns:
        What was written, the shape, and what could not be written, in words.

    Raises:
        UnknownNameError: If no shape, or more than one, is called so.
        TrainingError: If none is named and nothing was measured.
        ExportError: If a file cannot be written.
    """
    row = find_row(view, shape) if shape else choose(view).row
    if to == "hf":
        return export_hf(row.shape, output), row, ()
    if to == "onnx":
        return export_onnx(row.shape, view.device.scheme, output), row, ()
    return output, row, tuple(hand_off(view, row, output))
