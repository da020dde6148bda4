"""Where a command's rounds and trainings run: in this process, or on the nodes of a cluster."""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from phonelm_search.backends import QNN_SIMULATOR, get_runtime
from phonelm_search.backends.phone import Phone, assign_phones, examine
from phonelm_search.core.defaults import DEFAULT_ENGINE
from phonelm_search.core.errors import ConfigurationError, EngineError
from phonelm_search.core.reporting import Reporter
from phonelm_search.devices import DeviceProfile, load_device
from phonelm_search.train import usual_workers
from phonelm_search.work import (
    GPU_TRAININGS,
    TRAININGS,
    Engine,
    device_resource,
    open_ray,
    run_node,
    usable_threads,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What a person chooses about it."""

    engine: Literal["local", "ray"] = DEFAULT_ENGINE
    """``local``: this process and its children."""
    address: str | None = None
    """HOST:PORT of Ray's head; None: a Ray on this machine that ends with the command."""
    artifacts: str | None = None
    """A folder that all machines reach, as fsspec takes it; None: files go by Ray."""

    def __post_init__(self) -> None:
        if self.engine == "local" and (self.address or self.artifacts):
            given = "--address" if self.address else "--artifacts"
            raise ConfigurationError(f"{given} is for --engine ray; give that, too")

    def here(self, serials: Sequence[str]) -> Sequence[str]:
        """Of phones, those that this process looks for itself: an engine knows its own."""
        return serials if self.engine == "local" else ()


LOCAL = EnginePlan()


@contextmanager
def open_engine(
    plan: EnginePlan,
    *,
    devices: Sequence[DeviceProfile] = (),
    serials: Sequence[str] = (),
    trains: bool = False,
) -> Iterator[Engine | None]:
    """The engine of a command; None for this process.

    Args:
        plan: What a person chose.
        devices: Profiles that it will measure on.
        serials: Phones.
        trains: Whether it will train, too: a cluster where nobody does is refused now.

    Raises:
        EngineError: If Ray is not installed or not reachable, or no node offers what is needed.
        ConfigurationError: If a device cannot be used.
    """
    if plan.engine == "local":
        yield None
        return
    devices = [p for p in devices if p.runtime != QNN_SIMULATOR]  # compiles here
    offers: dict[str, float] = {}
    if plan.address is None:
        announced = _device_resources(devices, assign_phones(devices, serials))
        offers = {**announced, TRAININGS: float(usual_workers())}
    with open_ray(plan.address, artifacts=plan.artifacts, serials=serials, offers=offers) as engine:
        for profile in devices:
            engine.devices(profile.name, alone=False)
        if trains:
            engine.trainers()
        yield engine


def _device_resources(
    profiles: Sequence[DeviceProfile], phones: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """What this machine announces for devices; nothing of a phone is looked at but who it is.

    Args:
        profiles: The devices.
        phones: Those to measure on, by profile.

    Raises:
        ConfigurationError: If a phone is not there.
    """
    found: dict[str, float] = {}
    for profile in profiles:
        units: Sequence[str] = (machine_name(),)
        if profile.connection == "adb":
            units = phones.get(profile.name) or (Phone.connect(profile, None).serial,)
        found.update({device_resource(profile.name, unit): 1.0 for unit in units})
    return found


def machine_name() -> str:
    """What this machine's processors are announced as."""
    return socket.gethostname()


def node_offers(
    devices: Sequence[str],
    serials: Sequence[str],
    *,
    trainings: int | None,
    gpus: int,
    report: Reporter,
) -> dict[str, float]:
    """Check devices as the doctor does, and tell what a node with them announces.

    Args:
        devices: Profiles.
        serials: Phones; each must fit one of the profiles.
        trainings: At once; None: one for each GPU, else for each processor where no device is
            measured, else none. A node for the driver alone has neither devices nor trainings.
        gpus: That are there.
        report: Told what was checked.

    Raises:
        ConfigurationError: If there cannot be so many trainings.
        EngineError: If a device cannot measure; says what to do.
    """
    profiles = [load_device(name) for name in devices]
    phones = assign_phones(profiles, serials)
    offers = _device_resources(profiles, phones)
    for profile in profiles:
        report.stage(f"checking {profile.name}", 0)
        if profile.connection != "adb":
            get_runtime(profile, note=report.note).environment()
            continue
        for serial in phones.get(profile.name) or (None,):
            _check_phone(profile, serial)
    if trainings is None:
        trainings = gpus or (0 if devices else usual_workers())
    most = usable_threads()
    if not gpus and trainings > most:
        raise ConfigurationError(
            f"--trainings must be at most one for each processor, {most} here, got {trainings}"
        )
    if trainings:
        offers[GPU_TRAININGS if gpus else TRAININGS] = float(trainings)
    return offers


def run_ray_node(
    devices: Sequence[str],
    *,
    serials: Sequence[str],
    trainings: int | None,
    address: str | None,
    listen: str | None,
    port: int,
    report: Reporter,
    on_ready: Callable[[str], object],
) -> None:
    """Check devices, then start or join a cluster with them until Ctrl-C or its end.

    Args:
        devices: See `node_offers`.
        serials: See `node_offers`.
        trainings: See `node_offers`.
        address: HOST:PORT of the head; None: this machine is it.
        listen: Address of this machine that other nodes reach it at; None: Ray finds it.
        port: Of the head.
        report: Shows progress.
        on_ready: Told in a line what the node offers.

    Raises:
        EngineError: If a device or Ray cannot be used, or Ray ends.
        ConfigurationError: See `node_offers`.
    """
    import torch  # here: other commands need not wait for it

    gpus = torch.cuda.device_count()
    offers = node_offers(devices, serials, trainings=trainings, gpus=gpus, report=report)
    listed = ", ".join(f"{name} ({count:g})" for name, count in sorted(offers.items()))
    listed = listed or "nothing but a place for a driver"

    def told(here: str) -> None:
        head = address or f"{here}:{port}"
        on_ready(f"this node offers {listed}; head: {head}; Ctrl-C ends it")

    run_node(
        address, offers=offers, listen=listen, port=port, gpus=gpus, on_ready=told,
    )  # fmt: skip


def _check_phone(profile: DeviceProfile, serial: str | None) -> None:
    for check in examine(profile, serial):
        if not check.ok:
            raise EngineError(
                f"{serial or profile.name} must be ready to measure; {check.name}: {check.found}; "
                f"{check.remedy}"
            )
