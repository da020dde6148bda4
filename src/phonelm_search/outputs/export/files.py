"""The files of ``results/STUDY`` that spreadsheets and scripts read."""

import json
from collections.abc import Mapping
from pathlib import Path

from phonelm_search.core.errors import ExportError, unwritable
from phonelm_search.core.tables import to_csv
from phonelm_search.outputs.rows import sensitivity_rows, study_rows
from phonelm_search.reading import Sensitivity, StudyView, front_pairs


def write_tables(view: StudyView, folder: Path) -> None:
    """Write configuration, ``trials.csv``, ``front.csv`` and, of several shapes, ``pairs.csv``.

    Raises:
        ExportError: If the folder cannot be written.
    """
    rows = study_rows(view)
    failed = [
        {"name": f.name, **f.shape.columns(), "verdict": "rejected", "reasons": [f.reason]}
        for f in view.failed
    ]
    documents = {
        "config.json": json.dumps(
            {**view.record.config, "environment": dict(view.record.environment)}, indent=2
        )
        + "\n",
        "trials.csv": to_csv([*rows, *failed]),
        **({"pairs.csv": to_csv(pairs)} if (pairs := front_pairs(view)) else {}),
        "front.csv": to_csv(study_rows(view, view.front)),
    }
    _write(folder, documents)


def write_sensitivity(found: Sensitivity, folder: Path) -> None:
    """Write ``sensitivity.csv``: spreads and effects, a row each.

    Raises:
        ExportError: If the folder cannot be written.
    """
    _write(folder, {"sensitivity.csv": to_csv(sensitivity_rows(found))})


def _write(folder: Path, documents: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExportError(unwritable(folder, error)) from error
