"""A profile for a plugged-in phone: what it is, what is fastest on it, whether its numbers hold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from phonelm_search.backends import Runtime
from phonelm_search.backends.native import NativeRuntime
from phonelm_search.backends.phone import Phone
from phonelm_search.core.errors import ConfigurationError, unwritable
from phonelm_search.core.precision import get_precision
from phonelm_search.core.records import NumericsCheck
from phonelm_search.core.reporting import Reporter
from phonelm_search.core.units import format_ms
from phonelm_search.core.workload import Scenario
from phonelm_search.core.yamlfile import validate
from phonelm_search.devices import DEVICES, DeviceProfile, Thermal, choose_cores
from phonelm_search.measure import (
    REFERENCE,
    Executor,
    MeasureSettings,
    Tried,
    choices,
    gate_shape,
    refusal,
    sweep,
)
from phonelm_search.work import file_under_way

_MATCHED = ("ro.product.model", "ro.soc.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A new profile and what was seen on the way."""

    path: Path
    """The file."""
    profile: DeviceProfile
    """Its content."""
    numerics: NumericsCheck
    """The gate that it passed."""
    tried: tuple[Tried, ...]
    """Cores and threads, the fastest first."""


def add_phone(
    serial: str | None, *, name: str | None, precision: str, scenario: Scenario, report: Reporter
) -> Added:
    """Write ``device_profiles/NAME.yaml`` for a connected phone.

    Args:
        serial: Which phone; None: the only connected one.
        name: Of the profile; by default made from the phone's model.
        precision: Of its profile, and of what is tried here.
        scenario: Whose time decides about cores and threads.
        report: Shows progress.

    Raises:
        ConfigurationError: If no phone is meant, or the file is there already.
        MeasurementError: If the phone's logits are wrong, or nothing can be measured.
    """
    report.stage("reading the phone", 1)
    draft = validate(
        {
            "name": name or "new",
            "connection": "adb",
            "runtime": "onnxruntime-native",
            "precision": get_precision(precision).name,
        },
        DeviceProfile,
        source="devices add",
    )
    phone = Phone.connect(draft, serial, note=report.note)
    properties = phone.properties
    name = name or profile_name(properties.get("ro.product.model", ""))
    target = Path(DEVICES.folder) / f"{name}.yaml"
    if target.exists():
        raise ConfigurationError(
            f"{target} must not exist yet; remove it, or give another name with --name"
        )
    match = {key: properties[key] for key in _MATCHED if properties.get(key)}
    profile = draft.model_copy(update={"match": match})
    profile = DeviceProfile.model_validate({**profile.model_dump(), "name": name})
    report.advance(1)
    report.stage("checking its numbers", 1)
    check = _checked(profile, NativeRuntime(phone, profile))
    report.advance(1, f"logits within {max(check.prefill_error, check.decode_error):.2g}")
    report.stage("trying cores and threads", len(list(choices(phone.cores))))

    def runtime_of(chosen: DeviceProfile) -> Runtime:
        return NativeRuntime(phone.with_profile(chosen), chosen)

    def on_tried(found: Tried) -> None:
        report.advance(1, describe(found))
        if found.end_to_end_ms is None:
            report.note(f"{describe(found)}: {found.failure}")

    tried = sweep(profile, phone.cores, scenario, runtime_of, on_tried=on_tried)
    best = tried[0]
    profile = profile.model_copy(
        update={"cores": _named(phone, best.cores), "threads": _threads(best)}
    )
    _write(target, _text(phone, profile, tried, scenario))
    return Added(path=target, profile=profile, numerics=check, tried=tuple(tried))


def describe(tried: Tried) -> str:
    """A choice of cores and threads in words."""
    cores = ", ".join(map(str, tried.cores))
    return f"{tried.threads} thread{'s' if tried.threads > 1 else ''} on cores {cores}"


def reason_text(tried: Tried) -> str | None:
    """Why a choice could not be measured, or its first reason and how many more there are."""
    if tried.failure or not tried.reasons:
        return tried.failure
    first, *others = tried.reasons
    return f"{first.text} (+{len(others)})" if others else first.text


def _checked(profile: DeviceProfile, runtime: Runtime) -> NumericsCheck:
    """The reference shape's logits against the dequantised weights.

    Raises:
        MeasurementError: If they are wrong.
    """
    executor = Executor(profile, runtime, MeasureSettings())
    (check,) = executor.check_numerics([gate_shape(REFERENCE)], profile)
    if error := refusal(check, device=profile.name, capabilities=runtime.capabilities()):
        raise error
    return check


def profile_name(model: str) -> str:
    """A file name from a phone's model."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "phone"


def _named(phone: Phone, cores: tuple[int, ...]) -> str | tuple[int, ...]:
    """``all`` or ``big`` where that is what the cores are."""
    for wanted in ("all", "big"):
        if choose_cores(phone.cores, wanted, device=phone.serial) == cores:
            return wanted
    return cores


def _threads(tried: Tried) -> int | str:
    return "all" if tried.threads == len(tried.cores) else tried.threads


def _text(phone: Phone, profile: DeviceProfile, tried: Sequence[Tried], scenario: Scenario) -> str:
    """The profile as YAML, with what was seen as comments."""
    machine = phone.machine()
    lines = [
        f"{machine['device_model']}, {machine['soc']}; {machine['build']}",
        f"Made by `phonelm-search devices add` on {date.today().isoformat()}; the runner's "
        f"{machine['runner']} build.",
        "Cores (number: capacity, highest MHz): "
        + "; ".join(
            f"{c.number}: {c.capacity or '?'}, {c.max_khz // 1000 if c.max_khz else '?'}"
            for c in phone.cores
        ),
        f"Tried on the reference shape, {scenario} of it, one round each, the fastest first "
        "(within 3 %, fewest threads):",
        *(f"  {describe(t)}: {_times(t)}" for t in tried),
    ]
    whole = profile.model_copy(update={"thermal": Thermal()})
    content = whole.model_dump(mode="json", exclude={"provider_options"})
    body = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True)
    return "".join(f"# {_one_line(line)}\n" for line in lines) + body


def _times(tried: Tried) -> str:
    if tried.end_to_end_ms is None:
        return tried.failure or "not measured"
    text = f"prefill {format_ms(tried.prefill_ms)} ms, decode {format_ms(tried.decode_ms)} ms"
    return text if tried.verdict == "valid" else f"{text} ({tried.verdict}: {reason_text(tried)})"


def _one_line(text: str) -> str:
    """Text for a comment: whatever a phone calls itself, it stays one line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _write(target: Path, text: str) -> None:
    """Write a file that appears only when it is complete."""
    try:
        target.parent.mkdir(exist_ok=True)
        with file_under_way(target) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(unwritable(target, error)) from error
