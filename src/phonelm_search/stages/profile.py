"""Measuring shapes that a person names: the thread of ``profile``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from phonelm_search.backends import QNN_SIMULATOR
from phonelm_search.backends.phone import assign_phones
from phonelm_search.core.errors import ConfigurationError, MeasurementError, UnknownNameError
from phonelm_search.core.hf_config import load_hf_config
from phonelm_search.core.reporting import Reporter, ShapeProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload, decode, prefill
from phonelm_search.devices import DeviceProfile, PerPhase, load_device
from phonelm_search.measure import Outcome, Profiler, Request
from phonelm_search.outputs import Row, latency_row, scenario_rows
from phonelm_search.reading import load_view
from phonelm_search.space import SPACES, load_space
from phonelm_search.speed import BlockEstimator, Estimated, device_costs
from phonelm_search.stages.compile import calibration_tokens, compile_shapes
from phonelm_search.store import Store


def known_shapes() -> dict[str, tuple[str, ModelShape]]:
    """References of all search spaces by lower-case name: (name as written, shape).

    A malformed file of the working directory hides its own references and no others.
    """
    found: dict[str, tuple[str, ModelShape]] = {}
    for name in SPACES.names():
        try:
            space = load_space(name)
        except ConfigurationError:
            continue
        for reference in space.references:
            found.setdefault(reference.name.lower(), (reference.name, reference.shape(space)))
    return found


def find_shape(store: Store, text: str) -> tuple[str | None, ModelShape]:
    """A shape by what a person wrote, and its name if it has one.

    Args:
        store: Where shape ids are looked up.
        text: A reference's name in any case, the path of a ``config.json`` or of its folder,
            or a shape id.

    Raises:
        UnsupportedConfigError: If the file cannot be represented.
        UnknownNameError: If nothing is called so.
    """
    path = Path(text)
    if path.suffix == ".json" or (path.is_dir() and (path / "config.json").exists()):
        return path.stem if path.stem != "config" else path.resolve().parent.name, load_hf_config(
            path
        )
    known = known_shapes()
    if text.lower() in known:
        return known[text.lower()]
    try:
        return None, store.shape(text)
    except UnknownNameError as error:
        if error.known:  # the beginning of several
            raise
        names = [name for name, _ in known.values()]
        raise UnknownNameError(
            "shape", text, names, "or give the path of a config.json, or a study's shape id"
        ) from None


def profile_shapes(
    store: Store,
    texts: Sequence[str],
    *,
    study: str | None,
    everything: bool = False,
    devices: Sequence[str],
    serials: Sequence[str] = (),
    precision: str | None,
    method: Literal["whole", "blocks"] = "whole",
    prompt_tokens: Sequence[int] | None,
    context_tokens: Sequence[int] | None,
    scenarios: Sequence[Scenario] = (),
    remeasure: bool,
    report: Reporter,
) -> tuple[list[Row], int]:
    """Measure shapes on devices.

    A study's front is measured in the study's own scenario and precision unless others are asked
    for, so that `regret.regret_matrix` can compare devices.

    Returns:
        Rows, one a workload, and how many shapes failed; a failed one has rows with its reason.

    Raises:
        ConfigurationError: If no shape is named or a name cannot be used.
        StoreError: If the database cannot be used.
    """
    shapes = [find_shape(store, text) for text in texts]
    scheme: PerPhase | str | None = precision
    if study is not None:
        view = load_view(store, study)
        shapes += [(r.name, r.shape) for r in (view.rows if everything else view.front)]
        if not (scenarios or prompt_tokens or context_tokens):
            scenarios = [view.scenario]
        scheme = precision or view.device.precision
    if not shapes:
        raise ConfigurationError(
            "at least one shape must be given: a name (phonelm-0.5b), a config.json, or --study"
        )
    profiles = [load_device(name) for name in devices]
    if scheme is not None:
        profiles = [p.with_precision(scheme) for p in profiles]
    phones = assign_phones(profiles, serials)
    rows: list[Row] = []
    failed = 0
    for profile in [p for p in profiles if p.runtime == QNN_SIMULATOR]:
        workloads = _workloads(profile, prompt_tokens, context_tokens, scenarios)
        found, refused = compile_shapes(
            store, shapes, profile, workloads, remeasure=remeasure, report=report
        )
        rows, failed = rows + found, failed + refused
    profiles = [p for p in profiles if p.runtime != QNN_SIMULATOR]
    if profiles:
        report.stage("measuring", len(shapes) * len(profiles))
    for profile in profiles:
        profiler = Profiler(
            store,
            profile,
            serials=phones.get(profile.name, ()),
            note=report.note,
            calibration=partial(calibration_tokens, store),
        )
        progress = ShapeProgress(report, profiler.settings.rounds)
        workloads = _workloads(profile, prompt_tokens, context_tokens, scenarios)
        distinct = {shape.shape_id: shape for _, shape in shapes}
        outcomes: Sequence[Outcome | Estimated]
        if method == "blocks" and profile.accelerated:
            raise ConfigurationError(
                f"--method blocks is for processors, {profile.name} runs "
                f"{' and '.join(profile.accelerated_phases)} on an accelerator; leave it out"
            )
        if method == "blocks":
            estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
            wanted = list(distinct.values())
            plans = estimator.plan(wanted, workloads)
            report.stage("measuring blocks", sum(len(p.depths) for p in plans))
            outcomes = estimator.estimate(
                wanted, workloads, plans, remeasure=remeasure, on_round=progress.on_round
            )
        else:
            outcomes = profiler.measure(
                [Request(shape=s, workloads=workloads) for s in distinct.values()],
                remeasure=remeasure,
                on_round=progress.on_round,
            )
        by_shape: dict[str, Outcome | Estimated] = dict(zip(distinct, outcomes, strict=True))
        for name, shape in shapes:
            progress.on_shape(shape)
            outcome = by_shape[shape.shape_id]
            error = outcome.error
            peaks: dict[Workload, int] = {}
            if error is None and method == "whole":
                try:
                    for w in [w for w in workloads if not profile.is_accelerated(w.phase)]:
                        peaks[w] = profiler.peak_bytes(shape, w, remeasure=remeasure)
                except MeasurementError as failure:
                    report.note(f"peak memory of {name or shape.shape_id}: {failure}")
            if error is not None:
                failed += 1
                report.note(f"{name or shape.shape_id} on {profile.name}: {error}")
            rows += [
                latency_row(
                    shape,
                    profile,
                    w,
                    outcome.latencies.get(w),
                    name=name,
                    peak_bytes=peaks.get(w),
                    reasons=[] if error is None else [str(error)],
                )
                for w in workloads
            ]
            for scenario in scenarios:
                rows += scenario_rows(shape, profile, scenario, outcome.latencies, name=name)
    return rows, failed


def _workloads(
    profile: DeviceProfile,
    prompts: Sequence[int] | None,
    contexts: Sequence[int] | None,
    scenarios: Sequence[Scenario],
) -> tuple[Workload, ...]:
    """What is asked; a kind that nothing asks for is the profile's own."""
    usual = profile.workload
    asked = (
        *(prefill(n) for n in prompts or (() if scenarios else usual.prompt_tokens)),
        *(decode(n) for n in contexts or (() if scenarios else usual.context_tokens)),
        *(w for s in scenarios for w in s.workloads),
    )
    return tuple(dict.fromkeys(asked))
