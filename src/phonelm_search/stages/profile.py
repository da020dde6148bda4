"""Measuring shapes that a person names: the thread of ``profile``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phonelm_search.backends import QNN_SIMULATOR
from phonelm_search.backends.phone import assign_phones
from phonelm_search.core.defaults import DEFAULT_DEVICE
from phonelm_search.core.errors import ConfigurationError, MeasurementError, UnknownNameError
from phonelm_search.core.hf_config import load_hf_config
from phonelm_search.core.reporting import Reporter, RoundProgress
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload, decode, prefill
from phonelm_search.devices import DeviceProfile, PerPhase, load_device
from phonelm_search.measure import Profiler, Request, judged_alone
from phonelm_search.outputs import Row, latency_row, scenario_rows
from phonelm_search.reading import load_view
from phonelm_search.space import SPACES, load_space
from phonelm_search.stages.compile import compile_shapes
from phonelm_search.stages.session import make_profiler, processors_held
from phonelm_search.store import Store
from phonelm_search.work import Engine, sweep_temporary

_CACHED = "models--"  # how a cache of Hugging Face begins the name of a model's folder


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
        return _model_name(path), load_hf_config(path)
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


def _model_name(path: Path) -> str | None:
    """What the model of a file, or of its folder, is called; None where nothing says.

    A link is called as it is written: in a cache of Hugging Face the files are links to blobs.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links
    folder = absolute if path.is_dir() else absolute.parent
    if folder == absolute.parent and path.name != "config.json":
        return path.stem
    cache = folder.parent.parent.name
    if folder.parent.name == "snapshots" and cache.startswith(_CACHED):
        return cache.removeprefix(_CACHED).replace("--", "/", 1)
    return folder.name or None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePlan:
    """What `profile_shapes` measures."""

    shapes: Sequence[str] = ()
    """Names, paths of ``config.json``, or shape ids."""
    study: str | None = None
    """Measure this study's front, too."""
    everything: bool = False
    """All shapes of the study, not its front alone."""
    devices: Sequence[str] = (DEFAULT_DEVICE,)
    """Device profiles."""
    serials: Sequence[str] = ()
    """Which phones."""
    precision: str | None = None
    """In place of the profiles'."""
    prompt_tokens: Sequence[int] = ()
    """Lengths of prompts; empty: the profile's."""
    context_tokens: Sequence[int] = ()
    """Lengths of the past at a decode step; empty: the profile's."""
    scenarios: Sequence[Scenario] = ()
    """Adds TTFT, TPOT and end-to-end time of these."""
    remeasure: bool = False
    """Measure even what is known."""


def profile_shapes(
    store: Store, plan: ProfilePlan, *, report: Reporter, engine: Engine | None = None
) -> tuple[list[Row], int]:
    """Measure shapes on devices.

    A study's front is measured in the study's own scenario and precision unless others are asked
    for, so that `reading.regret_matrix` can compare devices.

    Returns:
        Rows, one a workload, and how many shapes failed; a failed one has rows with its reason.

    Raises:
        ConfigurationError: If no shape is named or an option cannot be used; nothing was measured.
        StoreError: If the database cannot be used.
    """
    shapes = [find_shape(store, text) for text in plan.shapes]
    scheme: PerPhase | str | None = plan.precision
    if plan.study is not None:
        view = load_view(store, plan.study)
        shapes += [(r.name, r.shape) for r in (view.rows if plan.everything else view.front)]
        if not (plan.scenarios or plan.prompt_tokens or plan.context_tokens):
            plan = replace(plan, scenarios=(view.scenario,))
        scheme = plan.precision or view.device.precision
    if not shapes:
        raise ConfigurationError(
            "at least one shape must be given: a name (phonelm-0.5b), a config.json, or --study"
        )
    profiles = [load_device(name) for name in plan.devices]
    if scheme is not None:
        profiles = [p.with_precision(scheme) for p in profiles]
    phones = assign_phones(profiles, () if engine else plan.serials)  # an engine knows its own
    simulated = [p for p in profiles if p.runtime == QNN_SIMULATOR]
    measured = [p for p in profiles if p.runtime != QNN_SIMULATOR]
    rows: list[Row] = []
    failed = 0
    for profile in simulated:
        compiled, refused = compile_shapes(
            store, shapes, profile, _workloads(profile, plan), remeasure=plan.remeasure,
            report=report,
        )  # fmt: skip
        rows, failed = rows + compiled, failed + refused
    sweep_temporary()
    with processors_held(() if engine else measured, "profiling shapes", report):
        for profile in measured:
            profiler = make_profiler(
                store,
                profile,
                serials=phones.get(profile.name, ()),
                note=report.note,
                engine=engine,
            )
            told, refused = _profile_on(profiler, shapes, plan, report)
            rows, failed = rows + told, failed + refused
    return rows, failed


def _profile_on(
    profiler: Profiler,
    shapes: Sequence[tuple[str | None, ModelShape]],
    plan: ProfilePlan,
    report: Reporter,
) -> tuple[list[Row], int]:
    """Measure shapes on one device; rows, and how many failed."""
    profile, workloads = profiler.device, _workloads(profiler.device, plan)
    distinct = {shape.shape_id: shape for _, shape in shapes}
    progress = RoundProgress(report)
    progress.begin(f"measuring on {profile.name}", len(distinct) * profiler.settings.rounds)
    found = profiler.measure(
        [Request(shape=s, workloads=workloads) for s in distinct.values()],
        remeasure=plan.remeasure,
        on_round=progress.on_round,
    )
    progress.end()
    outcomes = dict(zip(distinct, found, strict=True))
    rows: list[Row] = []
    failed = 0
    for name, shape in shapes:
        outcome, title = outcomes[shape.shape_id], name or shape.shape_id
        peaks: dict[Workload, int] = {}
        if outcome.error is not None:
            failed += 1
            report.note(f"{title} on {profile.name}: {outcome.error}")
        else:
            try:
                for w in [w for w in workloads if not profile.is_accelerated(w.phase)]:
                    peaks[w] = profiler.peak_bytes(shape, w, remeasure=plan.remeasure)
            except MeasurementError as failure:
                report.note(f"peak memory of {title}: {failure}")
        told = {w: judged_alone(latency) for w, latency in outcome.latencies.items()}
        rows += [
            latency_row(
                shape,
                profile,
                w,
                told.get(w),
                name=name,
                peak_bytes=peaks.get(w),
                reasons=[] if outcome.error is None else [str(outcome.error)],
            )
            for w in workloads
        ]
        for scenario in plan.scenarios:
            rows += scenario_rows(shape, profile, scenario, outcome.latencies, name=name)
    return rows, failed


def _workloads(profile: DeviceProfile, plan: ProfilePlan) -> tuple[Workload, ...]:
    """What is asked; a kind that nothing asks for is the profile's own."""
    usual = profile.workload
    asked = (
        *(
            prefill(n)
            for n in plan.prompt_tokens or (() if plan.scenarios else usual.prompt_tokens)
        ),
        *(
            decode(n)
            for n in plan.context_tokens or (() if plan.scenarios else usual.context_tokens)
        ),
        *(w for s in plan.scenarios for w in s.workloads),
    )
    return tuple(dict.fromkeys(asked))
