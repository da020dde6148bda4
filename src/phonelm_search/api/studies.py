"""Functions of the commands that read studies."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from phonelm_search.api.frames import Folder, Names, frame_of, open_store
from phonelm_search.core import defaults as d
from phonelm_search.core.budget import parse_budgets
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.reporting import LoggedReporter
from phonelm_search.outputs import count_rows, doubtful_rows, explanation_document, versus_document
from phonelm_search.outputs.export import export_shape
from phonelm_search.outputs.plots import PICTURES
from phonelm_search.outputs.report import write_report
from phonelm_search.reading import (
    compare_shapes,
    explain_shape,
    find_rows,
    load_view,
    regret_matrix,
)
from phonelm_search.store import Store


def pareto(
    study: str,
    *,
    everything: bool = False,
    limit: int = d.DEFAULT_LIMIT,
    regret: bool = False,
    max_ttft: Names = (),
    max_tpot: Names = (),
    max_latency: Names = (),
    max_memory: str | None = None,
    max_loss: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """The front of a study, fastest first.

    Args:
        study: Its name.
        max_ttft: Budgets as of `run`, here and below; what is left out is as the study has it.
        everything: All measured shapes and references, the front marked, and shapes near the
            front that were predicted.
        limit: How many predicted ones at most.
        regret: Instead, how much slower each device's front is on each other device.
    """
    store = open_store(results, storage)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    view = load_view(store, study, budgets=budgets)
    if regret:
        return pd.DataFrame([asdict(cell) for cell in regret_matrix(store, view)])
    return frame_of(view, predicted=limit) if everything else frame_of(view, front=True)


def plot(
    study: str,
    kind: str = "front",
    *,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> Figure:
    """A picture of a study.

    Args:
        study: Name of the study.
        kind: ``front``, ``training``, ``spread``, ``map``, ``latency-vs-depth``, ``bandwidth``,
            ``devices``, ``processes`` or ``validation``.
    """
    if kind in PICTURES:
        store = open_store(results, storage)
        return PICTURES[kind](store, load_view(store, study))
    raise ConfigurationError(f"kind must be one of {', '.join(PICTURES)}, got '{kind}'")


def report(
    study: str,
    output: Folder | None = None,
    *,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> Path:
    """Write a study as one offline HTML file, by default ``RESULTS/STUDY/report.html``."""
    store = open_store(results, storage)
    return write_report(store, load_view(store, study), Path(output) if output else None)


def explain(
    study: str,
    shape: str | None = None,
    other: str | None = None,
    *,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> dict[str, Any]:
    """Why a shape of a study, by default the pick, or one against an ``other``.

    Returns:
        The document that ``--json`` prints.
    """
    view = load_view(open_store(results, storage), study)
    if shape is not None and other is not None:
        beside, (one, against) = find_rows(view, [shape, other])
        return versus_document(beside, compare_shapes(beside, one, against))
    explanation, pick = explain_shape(view, shape)
    return explanation_document(view, explanation, pick)


def export(
    study: str,
    output: Folder,
    *,
    shape: str | None = None,
    to: Literal["all", "hf", "onnx"] = "all",
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> Path:
    """Hand a shape of a study off, by default the pick.

    Args:
        study: Name of the study.
        output: Folder to write into.
        shape: Its id, the beginning of one, its label, or a reference's name.
        to: Everything, ``config.json`` alone, or the measured graph alone.

    Returns:
        What was written: the folder, or the file.
    """
    store = open_store(results, storage)
    path, _, notes = export_shape(load_view(store, study), Path(output), shape=shape, to=to)
    for note in notes:
        LoggedReporter().note(note)
    return path


def list_studies(
    *, results: Folder = d.DEFAULT_RESULTS, storage: str | None = None
) -> pd.DataFrame:
    """All studies: space, device, scenario, how many shapes were measured, and trainings."""
    return pd.DataFrame(count_rows(open_store(results, storage)))


def show_study(
    study: str, *, results: Folder = d.DEFAULT_RESULTS, storage: str | None = None
) -> dict[str, Any]:
    """A study's configuration and environment."""
    return asdict(open_store(results, storage).study(study))


def upgrade_studies(*, results: Folder = d.DEFAULT_RESULTS, storage: str | None = None) -> None:
    """Bring up a database of an older release, as what measures does."""
    Store(Path(results), url=storage, create=False, upgrade=True)


def check_study(
    study: str, *, results: Folder = d.DEFAULT_RESULTS, storage: str | None = None
) -> pd.DataFrame:
    """A row for each reason to doubt a shape's latency; none where all are valid."""
    rows = doubtful_rows(load_view(open_store(results, storage), study))
    return pd.DataFrame(rows, columns=["shape_id", "verdict", "why"])
