"""The commands as functions, for notebooks and scripts: pandas frames, matplotlib figures, paths.

Frames have the columns that ``--json`` and the CSV files have. What stages tell goes to the logger
``phonelm_search``: ``logging.basicConfig(level="INFO")`` shows it.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.workload import Scenario
from phonelm_search.outputs import STUDY_COLUMNS, study_rows
from phonelm_search.outputs.plots import PICTURES
from phonelm_search.outputs.report import write_report
from phonelm_search.quality import DEFAULT_BUDGET, DEFAULT_TOKENS_PER_PARAMETER, ScoreSettings
from phonelm_search.reading import StudyView, current_pick, load_view
from phonelm_search.stages import (
    SearchPlan,
    Strategy,
    prepare,
    profile_shapes,
    run_score,
    run_search,
)
from phonelm_search.store import Store

_LOG = logging.getLogger("phonelm_search")
Names = str | Sequence[str]
Folder = str | Path


class _Logged:
    """A reporter that logs."""

    def stage(self, title: str, total: float) -> None:
        _LOG.info("%s …", title)

    def advance(self, amount: float, detail: str = "") -> None:
        return None

    def note(self, text: str) -> None:
        _LOG.info("%s", text)


def search(
    space: str = "slm-100m",
    *,
    device: Names = "host-cpu",
    study: str | None = None,
    trials: int = 20,
    scenario: str = "chat=256:128",
    strategy: Strategy | None = None,
    sampler: str = "tpe",
    precision: str | None = None,
    seed: int = 0,
    results: Folder = "results",
    storage: str | None = None,
) -> pd.DataFrame:
    """Sample shapes of a space and measure them, as ``phonelm-search search`` does.

    Args:
        space: Name of a search space.
        device: Name of a device profile, or several.
        study: Name of the study, by default SPACE.DEVICE; one that exists goes on.
        trials: Distinct shapes that the study shall have in total.
        scenario: ``NAME=P:G``, a prompt of P tokens and G generated ones.
        strategy: ``sample`` or ``blocks``; None: blocks where that is quick.
        sampler: ``tpe``, ``nsga2``, ``random`` or ``grid``.
        precision: In place of the profile's.
        seed: Of the sampler.
        results: Folder of the database.
        storage: URL of another database.

    Returns:
        A row for each measured shape, fastest first; `pareto` gives the front alone.

    Raises:
        PhonelmSearchError: As the command would print it.
    """
    told = _told(
        search, space, device=device, study=study, trials=trials, scenario=scenario,
        strategy=strategy, sampler=sampler, precision=precision, seed=seed,
    )  # fmt: skip
    store = Store(Path(results), url=storage)
    setup = prepare(
        space, _list(device), study=study, scenario=scenario, precision=precision, command=told
    )
    plan = SearchPlan(trials=trials, strategy=strategy, sampler=sampler, seed=seed)
    return _frame(run_search(store, setup, plan, report=_Logged()))


def score(
    study: str,
    *,
    top: int = 4,
    tokens_per_parameter: float = DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = DEFAULT_BUDGET,
    seeds: int | None = None,
    finalists: int = 4,
    seed: int = 0,
    data: Sequence[str] = (),
    results: Folder = "results",
    storage: str | None = None,
) -> pd.DataFrame:
    """Train the front and near-front of a study for a short horizon.

    Args:
        study: Name of the study.
        top: Shapes that enter training.
        tokens_per_parameter: Of the largest trained shape.
        proxy_parameters: Decoder parameters of miniatures; None trains the shapes themselves.
        seeds: Seeds of the finalists; None: one for a quick look, else two.
        finalists: Candidates that train to the end.
        seed: The first one.
        data: Text files, folders, or ``hf:NAME``; nothing: the embedded text.
        results: Folder of the database.
        storage: URL of another database.

    Returns:
        A row for each measured shape with its score, fastest first; ``pick`` marks one.

    Raises:
        PhonelmSearchError: As the command would print it.
    """
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters, seeds=seeds,
        finalists=finalists, seed=seed,
    )  # fmt: skip
    told = _told(
        score, study, top=top, tokens_per_parameter=tokens_per_parameter,
        proxy_parameters=proxy_parameters, seeds=seeds, finalists=finalists, seed=seed, data=data,
    )  # fmt: skip
    store = _store(results, storage)
    view = run_score(store, study, settings, top=top, report=_Logged(), data=data, command=told)
    return _frame(view)


def profile(
    shapes: Names = (),
    *,
    study: str | None = None,
    device: Names = "host-cpu",
    precision: str | None = None,
    method: Literal["whole", "blocks"] = "whole",
    prompt_tokens: Sequence[int] | None = None,
    context_tokens: Sequence[int] | None = None,
    scenario: Names = (),
    results: Folder = "results",
    storage: str | None = None,
) -> pd.DataFrame:
    """Measure shapes that are named.

    Args:
        shapes: Names, paths of ``config.json``, or shape ids.
        study: Measure its front, too.
        device: Name of a device profile, or several.
        precision: In place of the profile's.
        method: ``whole`` models, or estimates from ``blocks`` of their layers.
        prompt_tokens: Lengths of prompts; None: the profile's.
        context_tokens: Lengths of the past at a decode step; None: the profile's.
        scenario: ``NAME=P:G``; adds TTFT, TPOT and end-to-end time.
        results: Folder of the database.
        storage: URL of another database.

    Returns:
        A row for each workload; latencies in ms, with verdicts. A shape that failed has rows
        with its reason and no latency.

    Raises:
        PhonelmSearchError: As the command would print it.
    """
    rows, _ = profile_shapes(
        Store(Path(results), url=storage), _list(shapes), study=study, devices=_list(device),
        precision=precision, method=method, prompt_tokens=prompt_tokens,
        context_tokens=context_tokens, scenarios=[Scenario.parse(s) for s in _list(scenario)],
        remeasure=False, report=_Logged(),
    )  # fmt: skip
    return pd.DataFrame(rows)


def pareto(
    study: str, *, everything: bool = False, results: Folder = "results", storage: str | None = None
) -> pd.DataFrame:
    """The front of a study, fastest first.

    Args:
        study: Name of the study.
        everything: All measured shapes and references, the front marked.
        results: Folder of the database.
        storage: URL of another database.

    Raises:
        PhonelmSearchError: If there is no such study.
    """
    view = load_view(_store(results, storage), study)
    return _frame(view) if everything else _frame(view, front=True)


def plot(
    study: str, kind: str = "front", *, results: Folder = "results", storage: str | None = None
) -> Figure:
    """A picture of a study.

    Args:
        study: Name of the study.
        kind: ``front``, ``training``, ``spread``, ``latency-vs-depth``, ``bandwidth``,
            ``devices`` or ``validation``.
        results: Folder of the database.
        storage: URL of another database.

    Raises:
        PhonelmSearchError: If there is no such study or kind, or it lacks what the picture shows.
    """
    if kind not in PICTURES:
        raise ConfigurationError(f"kind must be one of {', '.join(PICTURES)}, got '{kind}'")
    store = _store(results, storage)
    return PICTURES[kind](store, load_view(store, study))


def report(
    study: str,
    path: Folder | None = None,
    *,
    results: Folder = "results",
    storage: str | None = None,
) -> Path:
    """Write a study as one offline HTML file, by default ``RESULTS/STUDY/report.html``.

    Raises:
        PhonelmSearchError: If there is no such study, or the file cannot be written.
    """
    store = _store(results, storage)
    return write_report(store, load_view(store, study), Path(path) if path else None)


def _told(function: Callable[..., Any], first: str, **given: Any) -> str:
    """A call as it was written but for defaults, for the study to keep."""
    usual = inspect.signature(function).parameters
    words = [repr(first)]
    words += [f"{k}={v!r}" for k, v in given.items() if v != usual[k].default]
    return f"phonelm_search.api.{function.__name__}({', '.join(words)})"


def _store(results: Folder, storage: str | None) -> Store:
    return Store(Path(results), url=storage, create=False)


def _list(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _frame(view: StudyView, *, front: bool = False) -> pd.DataFrame:
    pick = current_pick(view)
    shown = view.front if front else view.rows
    rows = study_rows(
        view,
        shown,
        pick=pick.row.shape.shape_id if pick else None,
        doubts=pick.provisional if pick else (),
    )
    return pd.DataFrame(rows, columns=None if rows else list(STUDY_COLUMNS))
