"""Functions of the commands that measure and train."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from phonelm_search.api.frames import Folder, Names, frame_of, list_of
from phonelm_search.core import defaults as d
from phonelm_search.core.budget import parse_budgets
from phonelm_search.core.reporting import LoggedReporter
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import load_device
from phonelm_search.outputs import sensitivity_rows
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import Rule, check_rule
from phonelm_search.stages import (
    SENSITIVITY_SUFFIX,
    EnginePlan,
    ProfilePlan,
    SearchPlan,
    Setup,
    call_text,
    open_engine,
    prepare,
    profile_shapes,
    run_all,
    run_score,
    run_search,
    run_sensitivity,
)
from phonelm_search.store import Store


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
    train_tokens: float | None = None,
    law: str | Path | None = None,
    max_ttft: Names = (),
    max_tpot: Names = (),
    max_latency: Names = (),
    max_memory: str | None = None,
    max_loss: str | None = None,
    data: Names = (),
    scenario: str = d.DEFAULT_SCENARIO,
    objective: Names = (),
    minutes: float | None = d.DEFAULT_MINUTES,
    sampler: str = d.DEFAULT_SAMPLER,
    pick: Rule = d.DEFAULT_RULE,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    remeasure: bool = False,
    engine: Literal["local", "ray"] = d.DEFAULT_ENGINE,
    address: str | None = None,
    artifacts: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Search, train for the front, pick, and write the study's files. See `search` and `score`.

    Args:
        law: A file that `fit_law` wrote, which the study keeps; ``shipped`` is the package's own.
        max_ttft: Time to the first token that the pick keeps: ``400ms``, ``DEVICE=400ms``. Here
            and below, what is left out stays as the study has it; ``none`` clears it.
        max_tpot: Likewise, time per output token.
        max_latency: Likewise, time of the whole scenario.
        max_memory: Weights, and the KV cache at the scenario's end: ``300MB``. A measured peak
            beyond it makes the pick provisional.
        max_loss: Loss against that of the space's first reference: ``+1%``.
        minutes: Time for measuring and training together; None: as long as it takes.
        pick: ``knee``, ``fastest`` or ``best``.
        engine: Where rounds and trainings run: ``local``, or ``ray``.
        address: HOST:PORT of Ray's head; None: a Ray of this machine alone.
        artifacts: A folder that all nodes reach, which files go by.

    Returns:
        A row for each measured shape, fastest first; ``pick`` marks one.
    """
    call = call_text(run, locals())
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters,
        minutes=d.training_minutes(minutes), seed=seed,
    )  # fmt: skip
    setup = _setup(
        space, device, serial=placing.here(list_of(serial)), study=study, scenario=scenario,
        objective=objective, vocab_size=vocab_size, precision=precision, command=call,
    )  # fmt: skip
    plan = SearchPlan(
        trials=trials, sampler=sampler, seed=seed, remeasure=remeasure, minutes=minutes,
    )  # fmt: skip
    with open_engine(
        placing, devices=setup.devices, serials=list_of(serial), trains=True
    ) as places:
        _, view = run_all(
            Store(Path(results), url=storage), setup, plan, settings,
            top=score_top, rule=check_rule(pick), report=LoggedReporter(), data=list_of(data),
            train_tokens=train_tokens, budgets=budgets, law=law, engine=places,
        )  # fmt: skip
    return frame_of(view)


def search(
    space: str = d.DEFAULT_SPACE,
    *,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    study: str | None = None,
    trials: int = d.DEFAULT_TRIALS,
    scenario: str = d.DEFAULT_SCENARIO,
    objective: Names = (),
    minutes: float | None = None,
    sampler: str = d.DEFAULT_SAMPLER,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    remeasure: bool = False,
    engine: Literal["local", "ray"] = d.DEFAULT_ENGINE,
    address: str | None = None,
    artifacts: str | None = None,
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
        minutes: Time for measuring; None: as long as it takes.
        sampler: ``model``, ``tpe``, ``nsga2``, ``random`` or ``grid``.
        seed: Of the sampler.
        vocab_size: In place of the space's.
        precision: In place of the profile's.
        remeasure: Measure what is in the database, too.

    Returns:
        A row for each measured shape, fastest first; `pareto` gives the front alone.
    """
    call = call_text(search, locals())
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    setup = _setup(
        space, device, serial=placing.here(list_of(serial)), study=study, scenario=scenario,
        objective=objective, vocab_size=vocab_size, precision=precision, command=call,
    )  # fmt: skip
    plan = SearchPlan(
        trials=trials, sampler=sampler, seed=seed, remeasure=remeasure, minutes=minutes
    )
    with open_engine(placing, devices=setup.devices, serials=list_of(serial)) as places:
        view = run_search(
            Store(Path(results), url=storage), setup, plan, report=LoggedReporter(), engine=places
        )
    return frame_of(view)


def score(
    study: str,
    *,
    score_top: int = d.DEFAULT_TOP,
    tokens_per_parameter: float = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = d.DEFAULT_BUDGET,
    minutes: float = d.DEFAULT_SCORE_MINUTES,
    train_tokens: float | None = None,
    law: str | Path | None = None,
    max_ttft: Names = (),
    max_tpot: Names = (),
    max_latency: Names = (),
    max_memory: str | None = None,
    max_loss: str | None = None,
    data: Names = (),
    seed: int = 0,
    retrain: bool = False,
    validate: bool = False,
    engine: Literal["local", "ray"] = d.DEFAULT_ENGINE,
    address: str | None = None,
    artifacts: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Train small relatives of a study's front, pick, and write the study's files.

    Args:
        study: Name of the study.
        score_top: Shapes of the front and near-front whose differences shall be told.
        tokens_per_parameter: The least horizon.
        proxy_parameters: Decoder parameters of the largest relatives; None: the shapes themselves.
        minutes: Time for trainings; told again, a study goes on for as long.
        train_tokens: That the pick will be trained on; None leaves it, at first 100 for each
            decoder parameter of the median shape.
        law: See `run`.
        max_ttft: Budgets as of `run`, here and below.
        data: Text files, folders, or ``hf:NAME:CONFIG``; nothing: the embedded text.
        seed: Of weights and data order.
        retrain: Drop what was trained for the study, and begin anew.
        validate: Also train relatives of twice the largest size; `plot` of kind ``validation``
            shows how the law tells them.

    Returns:
        A row for each measured shape with its loss, fastest first; ``pick`` marks one.
    """
    call = call_text(score, locals())
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters, minutes=minutes,
        seed=seed,
    )  # fmt: skip
    with open_engine(placing, trains=True) as places:
        _, view = run_score(
            Store(Path(results), url=storage, create=False, upgrade=True),
            study,
            settings,
            top=score_top,
            report=LoggedReporter(),
            data=list_of(data),
            retrain=retrain,
            validate=validate,
            train_tokens=train_tokens,
            budgets=budgets,
            law=law,
            command=call,
            engine=places,
        )
    return frame_of(view)


def profile(
    shapes: Names = (),
    *,
    study: str | None = None,
    everything: bool = False,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    precision: str | None = None,
    prompt_tokens: Sequence[int] = (),
    context_tokens: Sequence[int] = (),
    scenario: Names = (),
    remeasure: bool = False,
    engine: Literal["local", "ray"] = d.DEFAULT_ENGINE,
    address: str | None = None,
    artifacts: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Measure shapes that are named; see `stages.ProfilePlan` for the arguments.

    Returns:
        A row for each workload; latencies in ms, with verdicts. A shape that failed has rows
        with its reason and no latency.
    """
    plan = ProfilePlan(
        shapes=list_of(shapes), study=study, everything=everything, devices=list_of(device),
        serials=list_of(serial), precision=precision, prompt_tokens=prompt_tokens,
        context_tokens=context_tokens, scenarios=[Scenario.parse(s) for s in list_of(scenario)],
        remeasure=remeasure,
    )  # fmt: skip
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    profiles = [load_device(name) for name in plan.devices]
    with open_engine(placing, devices=profiles, serials=plan.serials) as places:
        rows, _ = profile_shapes(
            Store(Path(results), url=storage), plan, report=LoggedReporter(), engine=places
        )
    return pd.DataFrame(rows)


def sensitivity(
    space: str = d.DEFAULT_SPACE,
    *,
    device: Names = d.DEFAULT_DEVICE,
    serial: Names = (),
    study: str | None = None,
    shapes: int = d.COMPARED_SHAPES,
    tokens_per_parameter: float = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: int | None = d.DEFAULT_BUDGET,
    minutes: float = d.DEFAULT_SCORE_MINUTES,
    data: Names = (),
    scenario: str = d.DEFAULT_SCENARIO,
    seed: int = 0,
    vocab_size: int | None = None,
    precision: str | None = None,
    results: Folder = d.DEFAULT_RESULTS,
    storage: str | None = None,
) -> pd.DataFrame:
    """Measure shapes of equal decoder size and train for them; how far speed moves, and loss.

    Args:
        shapes: How many, spread over the space.

    Returns:
        A row for each spread and each effect of a dimension, in per cent.
    """
    call = call_text(sensitivity, locals())
    settings = ScoreSettings(
        tokens_per_parameter=tokens_per_parameter, budget=proxy_parameters, minutes=minutes,
        seed=seed,
    )  # fmt: skip
    setup = _setup(
        space, device, serial=serial, study=study, scenario=scenario, vocab_size=vocab_size,
        precision=precision, command=call, suffix=SENSITIVITY_SUFFIX,
    )  # fmt: skip
    store = Store(Path(results), url=storage)
    spreads, _ = run_sensitivity(
        store, setup, settings, count=shapes, report=LoggedReporter(), data=list_of(data)
    )
    return pd.DataFrame(sensitivity_rows(spreads))


def _setup(
    space: str, device: Names, *, serial: Names, objective: Names = (), **options: Any
) -> Setup:
    return prepare(
        space, list_of(device), serials=list_of(serial), objectives=list_of(objective), **options
    )
