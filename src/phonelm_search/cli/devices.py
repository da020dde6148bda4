"""``phonelm-search devices``: device profiles and connected phones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say, show_file, tell
from phonelm_search.core import defaults as d

if TYPE_CHECKING:
    from phonelm_search.stages import Added

HELP = "Device profiles and phones: list, show, check, copy, add, doctor, prepare."
app = typer.Typer(no_args_is_help=True)
DeviceArgument = Annotated[str, typer.Argument(help="A device profile by name or path.")]
SerialOption = Annotated[
    str | None, typer.Option("--serial", help="Which phone, as `adb devices` shows it.")
]


@app.command("list")
def list_devices(as_json: o.JsonOption = False, fmt: o.FormatOption = "table") -> None:
    """Connected phones and all profiles (those of ./device_profiles first); which fits which."""
    import shlex
    from dataclasses import asdict

    from phonelm_search.stages import known_devices

    known = known_devices()
    for fault in known.faults:
        say(f"phonelm-search: {fault}")
    if as_json:
        print_json(known.rows, connected=[asdict(p) for p in known.phones])
        return
    columns = (("device", "device"), ("connection", "connection"), ("phones", "fits phone"))
    shown = [{**r, "phones": ", ".join(r["phones"])} for r in known.rows]
    print_rows(shown, (*columns, ("file", "file")), fmt)
    for phone in known.phones:
        fits = (
            ", ".join(phone.fits)
            or f"none; `phonelm-search devices add --serial {shlex.quote(phone.serial)}`"
        )
        what = f"{phone.model}; profiles: {fits}"
        say(f"phone {phone.serial}: {f'{phone.state}; {phone.remedy}' if phone.remedy else what}")


@app.command("show")
def show_device(device: DeviceArgument) -> None:
    """A device profile's file. Example: phonelm-search devices show host-cpu."""
    from phonelm_search.core.textfile import read_text
    from phonelm_search.devices import DEVICES

    show_file(read_text(DEVICES.resolve(device)).rstrip())


@app.command("check")
def check_device(
    device: DeviceArgument, serial: SerialOption = None, as_json: o.JsonOption = False
) -> None:
    """Read a profile and show the environment that its measurements would carry."""
    from phonelm_search.stages import environment_of

    environment = environment_of(device, serial)
    rows = [{"key": k, "value": v} for k, v in environment.items()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, (("key", "key"), ("value", "value")), "table", ways="`--json`")


@app.command("copy")
def copy_device(device: DeviceArgument) -> None:
    """Copy a built-in profile into ./device_profiles for editing."""
    from phonelm_search.devices import DEVICES

    say(f"wrote {DEVICES.copy(device)}")


@app.command("add")
def add_device(
    serial: SerialOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the profile (default: from the model).")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Precision scheme of the profile.")
    ] = d.DEFAULT_PRECISION,
    scenario: o.ScenarioOption = d.DEFAULT_SCENARIO,
    as_json: o.JsonOption = False,
) -> None:
    """Write a profile for a plugged-in phone: its fastest cores and threads, its numbers checked.

    Example: phonelm-search devices add --serial 0A1B2C3D
    """
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.core.workload import Scenario
    from phonelm_search.stages import add_phone

    with ProgressReporter() as report:
        added = add_phone(
            serial,
            name=name,
            precision=precision,
            scenario=Scenario.parse(scenario),
            report=report,
        )
    _show_added(added, as_json=as_json, title=f"{added.profile.name}: {scenario}, {precision}")


def _show_added(added: "Added", *, as_json: bool, title: str) -> None:
    from dataclasses import asdict

    from phonelm_search.stages import describe, reason_text

    rows = [
        {
            "cores": t.cores,
            "threads": t.threads,
            "prefill_ms": t.prefill_ms,
            "decode_ms": t.decode_ms,
            "end_to_end_ms": t.end_to_end_ms,
            "verdict": t.verdict,
            "reason": reason_text(t),
            "choice": describe(t),
        }
        for t in added.tried
    ]
    if as_json:
        check = {**asdict(added.numerics), "passed": added.numerics.passed}
        print_json(rows, file=str(added.path), numerics=check)
        return
    columns = (
        ("choice", "reference shape, one round"),
        ("prefill_ms", "prefill ms"),
        ("decode_ms", "decode ms"),
        ("end_to_end_ms", "end-to-end ms"),
        ("verdict", "verdict"),
        ("reason", "because"),
    )
    first = ("choice", "end_to_end_ms", "verdict")
    print_rows(rows, columns, "table", title=title, first=first, ways="`--json`")
    best = added.tried[0]
    tell(
        f"first latency: prefill {best.prefill_ms:.3g} ms, decode {best.decode_ms:.3g} ms a token "
        f"({describe(best)}; one round, so a first impression)"
    )
    say(
        f"wrote {added.path}; next: `phonelm-search run --device {added.profile.name}`, or "
        f"`phonelm-search profile phonelm-0.5b --device {added.profile.name}`"
    )


@app.command("doctor")
def examine_phone(
    device: Annotated[
        str, typer.Argument(help="A device profile of connection adb, by name or path.")
    ] = d.DEFAULT_PHONE,
    serial: SerialOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Look at adb, authorisation, storage, memory, temperature and the runner, with remedies."""
    from dataclasses import asdict

    from phonelm_search.backends.phone import examine
    from phonelm_search.devices import load_device

    checks = []
    for check in examine(load_device(device), serial):
        checks.append(check)
        if not as_json:
            tell(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
            if not check.ok:
                tell(f"      → {check.remedy}")
    if as_json:
        print_json([{**asdict(c), "remedy": None if c.ok else c.remedy} for c in checks])
    if not all(c.ok for c in checks):
        raise typer.Exit(1)


@app.command("prepare")
def prepare_phones(
    ndk: Annotated[
        Path | None, typer.Option("--ndk", help="Folder of an Android NDK, for the Android build.")
    ] = None,
    ort_aar: Annotated[
        Path | None, typer.Option("--ort-aar", help="onnxruntime-android's AAR, for the same.")
    ] = None,
    qnn_aar: Annotated[
        list[Path] | None,
        typer.Option(
            "--qnn-aar",
            help="AARs of onnxruntime-qnn and of Qualcomm's runtime, for NPUs; repeats.",
        ),
    ] = None,
) -> None:
    """Build what phones are given; downloads ONNX Runtime's aarch64 wheel once.

    Examples: phonelm-search devices prepare; phonelm-search devices prepare --ndk
    ~/Android/Sdk/ndk/27.0.12077973 --ort-aar onnxruntime-android-1.32.0.aar
    """
    from phonelm_search.core.units import format_bytes
    from phonelm_search.stages import bundle_for_phones

    bundle = bundle_for_phones(ndk, ort_aar, qnn_aar or ())
    say(f"{bundle.flavour} build ready: {bundle.name}, {format_bytes(bundle.size)}")
