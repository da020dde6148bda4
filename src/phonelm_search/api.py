"""The commands as functions, for notebooks and scripts: pandas frames, matplotlib figures, paths.

Each function has the name, the options and the defaults of its command. Frames have the columns
that ``--json`` and the CSV files have. All take ``results``, the folder of the database and of the
studies' files, and ``storage``, the URL of another database, and raise `PhonelmSearchError` as the
command would print it. ``logging.basicConfig(level="INFO")`` shows what stages tell.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from phonelm_search.core import defaults as d
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.reporting import LoggedReporter
from phonelm_search.core.workload import Scenario
from phonelm_search.outputs import (
    STUDY_COLUMNS,
    explanation_document,
    sensitivity_rows,
    study_rows,
)
from phonelm_search.outputs.export import export_shape
from phonelm_search.outputs.plots import PICTURES
from phonelm_search.outputs.report import write_report
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import (
    Rule,
    StudyView,
    check_rule,
    explain_shape,
    load_view,
    regret_matrix,
)
from phonelm_search.stages import (
    SENSITIVITY_SUFFIX,
    ProfilePlan,
    SearchPlan,
    Setup,
    Strategy,
    call_text,
    prepare,
    profile_shapes,
    run_all,
    run_score,
    run_search,
    run_sensitivity,
)
from phonelm_search.store import Store

Names = str | Sequence[str]
Folder = str | Path


def run(
    space: str = d.DEFAULT_SPACE,
    *,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    study: str | None = None,
    trials: int = d.DEFAULT_TRIALS,
    score_top: int = d.DEFAULT_TOP,
    tokens_per_parameter: float = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = d.DEFAULT_BUDGET,
    finalists: int = d.DEFAULT_FINALISTS,
    seeds: int | None = None,
    data: Sequence[str] = (),
    scenario: str = d.DEFAULT_SCENARIO,
    objective: Names = (),
    strategy: Strategy | None = None,
    sampler: str = d.DEFAULT_SAMPLER,
    pick: Rule = d.DEFAULT_RULE,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    remeasure: bool = False,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Search, train the front, pick, and write the study's files. See `search` and `score`.

    Args:
        pick: ``knee``, ``fastest`` or ``best``.

    Returns:
        A row for each measured shape, fastest first; ``pick`` marks one.
    """
    call = call_text(run, locals())
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters,
        finalists=finalists, seeds=seeds, seed=seed,
    )  # fmt: skip
    setup = _setup(
        space, device, serial=serial, study=study, scenario=scenario, objective=objective,
        vocab_size=vocab_size, precision=precision, command=call,
    )  # fmt: skip
    plan = SearchPlan(
        trials=trials, strategy=strategy, near_front=score_top, sampler=sampler, seed=seed,
        remeasure=remeasure,
    )  # fmt: skip
    _, view = run_all(
        Store(Path(results), url=storage), setup, plan, settings,
        top=score_top, rule=check_rule(pick), report=LoggedReporter(), data=data,
    )  # fmt: skip
    return _frame(view)


def search(
    space: str = d.DEFAULT_SPACE,
    *,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    study: str | None = None,
    trials: int = d.DEFAULT_TRIALS,
    scenario: str = d.DEFAULT_SCENARIO,
    objective: Names = (),
    strategy: Strategy | None = None,
    sampler: str = d.DEFAULT_SAMPLER,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    remeasure: bool = False,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Sample shapes of a space and measure them.

    Args:
        space: Name of a search space.
        device: Name of a device profile, or several.
        serial: Which phones.
        study: Name of the study, by default SPACE.DEVICE; one that exists goes on.
        trials: Distinct shapes that the study shall have in total.
        scenario: ``NAME=P:G``, a prompt of P tokens and G generated ones.
        objective: ``latency``, ``prefill``, ``decode``, ``parameters`` or ``memory``, or several.
        strategy: ``sample`` or ``blocks``; None: blocks where that is quick.
        sampler: ``tpe``, ``nsga2``, ``random`` or ``grid``.
        seed: Of the sampler.
        vocab_size: In place of the space's.
        precision: In place of the profile's.
        remeasure: Measure what is in the database, too.

    Returns:
        A row for each measured shape, fastest first; `pareto` gives the front alone.
    """
    call = call_text(search, locals())
    setup = _setup(
        space, device, serial=serial, study=study, scenario=scenario, objective=objective,
        vocab_size=vocab_size, precision=precision, command=call,
    )  # fmt: skip
    plan = SearchPlan(
        trials=trials, strategy=strategy, sampler=sampler, seed=seed, remeasure=remeasure
    )
    return _frame(
        run_search(Store(Path(results), url=storage), setup, plan, report=LoggedReporter())
    )


def score(
    study: str,
    *,
    score_top: int = d.DEFAULT_TOP,
    tokens_per_parameter: float = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = d.DEFAULT_BUDGET,
    finalists: int = d.DEFAULT_FINALISTS,
    seeds: int | None = None,
    data: Sequence[str] = (),
    seed: int = 0,
    retrain: bool = False,
    validate: bool = False,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Train the front and near-front of a study, pick, and write the study's files.

    Args:
        study: Name of the study.
        score_top: Shapes that enter training.
        tokens_per_parameter: Of the largest trained shape.
        proxy_parameters: Decoder parameters of miniatures; None trains the shapes themselves.
        finalists: Candidates that train to the end.
        seeds: Seeds of the finalists; None: one for a quick look, else two.
        data: Text files, folders, or ``hf:NAME``; nothing: the embedded text.
        seed: The first one.
        retrain: Train what has a score already, too.
        validate: Also train a sample much longer; `plot` of kind ``validation`` shows it.

    Returns:
        A row for each measured shape with its score, fastest first; ``pick`` marks one.
    """
    call = call_text(score, locals())
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters,
        finalists=finalists, seeds=seeds, seed=seed,
    )  # fmt: skip
    _, view = run_score(
        _store(results, storage),
        study,
        settings,
        top=score_top,
        report=LoggedReporter(),
        data=data,
        retrain=retrain,
        validate=validate,
        command=call,
    )
    return _frame(view)


def profile(
    shapes: Names = (),
    *,
    study: str | None = None,
    everything: bool = False,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    precision: str | None = None,
    method: Literal["whole", "blocks"] = "whole",
    prompt_tokens: Sequence[int] = (),
    context_tokens: Sequence[int] = (),
    scenario: Names = (),
    remeasure: bool = False,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Measure shapes that are named; see `stages.ProfilePlan` for the arguments.

    Returns:
        A row for each workload; latencies in ms, with verdicts. A shape that failed has rows
        with its reason and no latency.
    """
    plan = ProfilePlan(
        shapes=_list(shapes), study=study, everything=everything, devices=_list(device),
        serials=_list(serial), precision=precision, method=method, prompt_tokens=prompt_tokens,
        context_tokens=context_tokens, scenarios=[Scenario.parse(s) for s in _list(scenario)],
        remeasure=remeasure,
    )  # fmt: skip
    rows, _ = profile_shapes(Store(Path(results), url=storage), plan, report=LoggedReporter())
    return pd.DataFrame(rows)


def sensitivity(
    space: str = d.DEFAULT_SPACE,
    *,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    study: str | None = None,
    shapes: int = d.COMPARED_SHAPES,
    tokens_per_parameter: float = d.COMPARED_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = d.DEFAULT_BUDGET,
    seeds: int = d.COMPARED_SEEDS,
    data: Sequence[str] = (),
    scenario: str = d.DEFAULT_SCENARIO,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Measure and train shapes of equal decoder size; how far speed moves, and how far loss.

    Args:
        shapes: How many, spread over the space.

    Returns:
        A row for each spread and each effect of a dimension, in per cent.
    """
    call = call_text(sensitivity, locals())
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters, seeds=seeds, seed=seed
    )
    setup = _setup(
        space, device, serial=serial, study=study, scenario=scenario, vocab_size=vocab_size,
        precision=precision, command=call, suffix=SENSITIVITY_SUFFIX,
    )  # fmt: skip
    store = Store(Path(results), url=storage)
    spreads, _ = run_sensitivity(
        store, setup, settings, count=shapes, report=LoggedReporter(), data=data
    )
    return pd.DataFrame(sensitivity_rows(spreads))


def pareto(
    study: str,
    *,
    everything: bool = False,
    regret: bool = False,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """The front of a study, fastest first.

    Args:
        study: Its name.
        everything: All measured shapes and references, the front marked.
        regret: Instead, how much slower each device's front is on each other device.
    """
    store = _store(results, storage)
    view = load_view(store, study)
    if regret:
        return pd.DataFrame([asdict(cell) for cell in regret_matrix(store, view)])
    return _frame(view) if everything else _frame(view, front=True)


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
        kind: ``front``, ``training``, ``spread``, ``latency-vs-depth``, ``bandwidth``,
            ``devices`` or ``validation``.
    """
    if kind in PICTURES:
        store = _store(results, storage)
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
    store = _store(results, storage)
    return write_report(store, load_view(store, study), Path(output) if output else None)


def explain(
    study: str,
    shape: str | None = None,
    *,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> dict[str, Any]:
    """Why a shape of a study, by default the pick: the document that ``--json`` prints."""
    view = load_view(_store(results, storage), study)
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
    store = _store(results, storage)
    path, _, notes = export_shape(store, load_view(store, study), Path(output), shape=shape, to=to)
    for note in notes:
        LoggedReporter().note(note)
    return path


def _setup(
    space: str, device: Names, *, serial: Names, objective: Names = (), **options: Any
) -> Setup:
    return prepare(
        space, _list(device), serials=_list(serial), objectives=_list(objective), **options
    )


def _store(results: Folder, storage: str | None) -> Store:
    return Store(Path(results), url=storage, create=False)


def _list(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _frame(view: StudyView, *, front: bool = False) -> pd.DataFrame:
    rows = study_rows(view, view.front if front else view.rows)
    return pd.DataFrame(rows, columns=None if rows else list(STUDY_COLUMNS))
