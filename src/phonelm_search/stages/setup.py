"""A study's set-up: names resolved, the space enumerated, an earlier study continued or refused."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phonelm_search import __version__
from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.backends.phone import assign_phones
from phonelm_search.core.defaults import DEFAULT_SCENARIO
from phonelm_search.core.errors import (
    ConfigurationError,
    StudyMismatchError,
    UnknownNameError,
)
from phonelm_search.core.records import StudyRecord, identity
from phonelm_search.core.study_name import STUDY_NAME
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import DeviceProfile, load_device
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.search import Goals, choose_objectives
from phonelm_search.space import FeasibleSet, SearchSpace, enumerate_space, load_space
from phonelm_search.store import Store, check_trials

_OF_A_PLACE = ("results", "storage", "serial", "address", "artifacts")
_COMPARED = ("space", "device", "beside", "scenario", "objectives", "versions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that a search is started with."""

    study: str
    """Name of the study."""
    space: SearchSpace
    """The search space."""
    device: DeviceProfile
    """Where latency is measured; of several devices the first."""
    beside: tuple[DeviceProfile, ...] = ()
    """Further devices; a shape is as fast as on the one where it is worst off."""
    feasible: FeasibleSet
    """The space's shapes."""
    goals: Goals
    """Objectives and scenario."""
    serials: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Phones to measure on, by profile; no part of what a study is."""
    command: str | None = None
    """The command line that asks for it, which the study keeps."""

    @property
    def devices(self) -> tuple[DeviceProfile, ...]:
        """All of them."""
        return self.device, *self.beside

    def config(self) -> dict[str, Any]:
        """The resolved configuration, as JSON."""
        return {
            "space": self.space.model_dump(mode="json"),
            "device": self.device.model_dump(mode="json"),
            "scenario": str(self.goals.scenario),
            "objectives": list(self.goals.objectives),
            "versions": {"graph": GRAPH_VERSION, "protocol": PROTOCOL_VERSION},
        }


def prepare(
    space: str,
    devices: Sequence[str],
    *,
    study: str | None = None,
    scenario: str = DEFAULT_SCENARIO,
    objectives: Sequence[str] = (),
    vocab_size: int | None = None,
    precision: str | None = None,
    serials: Sequence[str] = (),
    command: str | None = None,
    suffix: str = "",
) -> Setup:
    """Resolve names and enumerate the space.

    A study that has no name is called SPACE.DEVICE and ``suffix``.

    Raises:
        ConfigurationError: If a name, a file or an option cannot be used.
    """
    loaded = load_space(space)
    if vocab_size is not None:
        loaded = loaded.with_vocab_size(vocab_size)
    profiles = [load_device(name) for name in devices]
    if precision is not None:
        profiles = [p.with_precision(precision) for p in profiles]
    _check_devices(profiles, objectives)
    profile, *beside = profiles
    name = (
        study
        if study is not None
        else f"{loaded.name}.{'+'.join(p.name for p in profiles)}{suffix}"
    )
    check_study_name(name)
    feasible = enumerate_space(loaded, *profile.schemes)
    goals = Goals(
        objectives=choose_objectives(list(objectives), feasible),
        scenario=Scenario.parse(scenario),
        precisions=profile.schemes,
    )
    return Setup(
        study=name,
        space=loaded,
        device=profile,
        feasible=feasible,
        goals=goals,
        beside=tuple(beside),
        serials=assign_phones(profiles, serials),
        command=command,
    )


def _check_devices(profiles: Sequence[DeviceProfile], objectives: Sequence[str]) -> None:
    names = [p.name for p in profiles]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"devices must be distinct, got {', '.join(names)}")
    if len({str(p.precision) for p in profiles}) != 1:
        schemes = ", ".join(f"{p.name}: {p.precision}" for p in profiles)
        raise ConfigurationError(
            f"devices of one study must share a precision, got {schemes}; give --precision"
        )
    single = sorted({"prefill", "decode"} & set(objectives))
    if len(profiles) > 1 and single:
        raise ConfigurationError(
            f"the objective {single[0]} is for one device, got {len(profiles)}; with several, take "
            "latency: the worst of them, each as a multiple of its reference shape's"
        )


def check_study_name(name: str) -> None:
    """A study's name is also a folder's.

    Raises:
        ConfigurationError: If it cannot be one.
    """
    if not STUDY_NAME.fullmatch(name):
        raise ConfigurationError(
            "a study's name must be up to 100 letters, digits, dots, dashes, pluses and "
            f"underscores, got '{name}'"
        )


def open_study(store: Store, setup: Setup, environments: Sequence[dict[str, str]]) -> StudyRecord:
    """Start a study, or check that an existing one may go on with this setup.

    Args:
        store: The database.
        setup: The set-up.
        environments: Of each of its devices.

    Raises:
        StudyMismatchError: If configuration or environment differ; says what.
    """
    environment = environments[0]
    fresh = StudyRecord(
        name=setup.study,
        config=_config(setup, environments),
        environment_id=identity(environment),
        environment=environment,
    )
    try:
        known = store.study(setup.study)
    except UnknownNameError:
        check_trials(store, setup.study, setup.goals.directions, started=False)
        store.save_study(fresh)
        return remember_command(store, fresh, setup.command)
    check_settings(known, setup, environments)
    check_trials(store, setup.study, setup.goals.directions, started=True)
    return remember_command(store, known, setup.command)


def check_settings(
    known: StudyRecord, setup: Setup, environments: Sequence[dict[str, str]] = ()
) -> None:
    """Refuse to continue a study with another set-up.

    Args:
        known: The study as it was started.
        setup: The set-up.
        environments: Of each of its devices; none: they were not asked, and what they are does not
            count.

    Raises:
        StudyMismatchError: If configuration or environment differ; says what.
    """
    before, now = dict(known.config), _config(setup, environments)
    # Fields that a newer release has added stand at their defaults.
    before["device"] = _at_defaults(before["device"])
    if "beside" in before:
        before["beside"] = {
            name: {
                **(place if environments else {}),
                "device": _at_defaults(place["device"]),
            }
            for name, place in before["beside"].items()
        }
    differs = []
    for key in _COMPARED:
        differs += _differences(before.get(key), now.get(key), key)
    if environments:
        differs += _differences(dict(known.environment), environments[0], "environment")
    if differs:
        raise StudyMismatchError(
            f"study '{setup.study}' must be continued as it was started; differs: "
            f"{'; '.join(differs)}; use another --study or the first settings"
        )


def _config(setup: Setup, environments: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The resolved configuration, with the devices beside the first one."""
    beside: dict[str, dict[str, Any]] = {
        device.name: {"device": device.model_dump(mode="json")} for device in setup.beside
    }
    for place, found in zip(beside.values(), environments[1:], strict=bool(environments)):
        place |= {"environment_id": identity(found), "environment": found}
    return {**setup.config(), **({"beside": beside} if beside else {})}


def remember_command(store: Store, record: StudyRecord, command: str | None) -> StudyRecord:
    """Keep one more command line with a study, so that it can be done again."""
    if command is None:
        return record
    line = {"command": command, "version": __version__}
    before = record.config.get("commands", [])
    if line in before:
        return record
    record = replace(record, config={**record.config, "commands": [*before, line]})
    store.save_study(record)
    return record


def call_text(function: Callable[..., Any], given: dict[str, Any]) -> str:
    """A call as it was written but for defaults and what is of a place, for the study to keep."""
    usual = inspect.signature(function).parameters
    first, *others = usual
    words = [repr(given[first])]
    words += [
        f"{name}={given[name]!r}"
        for name in others
        if name not in _OF_A_PLACE and given[name] != usual[name].default
    ]
    return f"phonelm_search.api.{function.__name__}({', '.join(words)})"


def _at_defaults(device: dict[str, Any]) -> dict[str, Any]:
    return DeviceProfile.model_validate(device).model_dump(mode="json")


def _differences(before: Any, now: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [d for k in keys for d in _differences(before.get(k), now.get(k), f"{path}.{k}")]
    return [] if before == now else [f"{path} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
