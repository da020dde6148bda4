"""A study that a stage opens once: its database, its devices and one view of it, handed down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from phonelm_search.backends import takes_processors
from phonelm_search.core.reporting import Reporter
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import MeasureSettings, Profiler, placed_benches
from phonelm_search.reading import StudyView, load_view
from phonelm_search.stages.compile import calibration_tokens
from phonelm_search.stages.setup import Setup, open_study, remember_command
from phonelm_search.store import Store, study_held
from phonelm_search.train import PlacePool, Pool
from phonelm_search.work import Engine, machine_held, sweep, sweep_temporary

SETTINGS = MeasureSettings(rounds=2, most_rounds=3)
"""Two rounds for each shape; more of them where the front is open."""
_LEFTOVERS = (
    ".*.phonelm-part",
    "*/.*.phonelm-part",
    "*/winner/.handing-off-????????",
    "cache/**/.*.phonelm-part",
    # of earlier releases
    "*/.report.html.part",
    "cache/tokens-*.part.npz",
    "cache/*.npz.[0-9]*",
    "cache/training/*/*/*.part",
)
"""What a killed process leaves in a folder of results."""


class Session:
    """An open study.

    Args:
        store: The database.
        study: Name of the study.
        report: Shows progress.
        pool: Makes what trains; None: child processes, one per core or GPU.
    """

    def __init__(
        self,
        store: Store,
        study: str,
        report: Reporter,
        *,
        pool: Callable[[], Pool] | None = None,
    ) -> None:
        self.store, self.study, self.report, self.pool = store, study, report, pool
        self._view: tuple[int, StudyView] | None = None

    @property
    def folder(self) -> Path:
        """Where the study's files lie."""
        return self.store.folder(self.study)

    @property
    def view(self) -> StudyView:
        """The study as it is: read anew only after a record was written.

        Raises:
            UnknownNameError: If there is no such study.
            StoreError: If the database cannot be read.
        """
        revision = self.store.revision
        if self._view is None or self._view[0] != revision:
            self._view = revision, load_view(self.store, self.study)
        return self._view[1]

    def configure(self, key: str, value: Any) -> None:
        """Set a part of the study's configuration as it is now, perhaps hours after it was read."""
        record = self.store.study(self.study)
        if record.config.get(key) != value:
            self.store.save_study(replace(record, config={**record.config, key: value}))

    def extend(self, key: str, values: Mapping[str, Any]) -> None:
        """Add to a part of the study's configuration that is a mapping."""
        before = self.store.study(self.study).config.get(key) or {}
        self.configure(key, {**before, **values})

    def remember(self, command: str | None) -> None:
        """Keep one more command line with the study."""
        remember_command(self.store, self.store.study(self.study), command)


class MeasuringSession(Session):
    """An open study and what measures for it.

    Args:
        store: The database.
        setup: What the study is started with.
        report: Shows progress.
        engine: What places rounds and trainings; None: this process does.
    """

    def __init__(
        self, store: Store, setup: Setup, report: Reporter, *, engine: Engine | None = None
    ) -> None:
        super().__init__(store, setup.study, report, pool=pool_of(engine))
        self.setup, self._engine = setup, engine

    def start(self) -> None:
        """Start the study, or continue it if it may be; see `profilers`."""
        _ = self.profilers  # made at the first look

    @cached_property
    def profilers(self) -> tuple[Profiler, ...]:
        """One for each device, in order; the study is started, or continued if it may be.

        Raises:
            MeasurementError: If a device cannot be asked what it is.
            StudyMismatchError: If the study exists with another configuration or environment.
        """
        profilers = tuple(
            make_profiler(
                self.store,
                device,
                settings=SETTINGS,
                serials=self.setup.serials.get(device.name, ()),
                note=self.report.note,
                engine=self._engine,
            )
            for device in self.setup.devices
        )
        open_study(self.store, self.setup, [p.environment for p in profilers])
        return profilers


def make_profiler(
    store: Store,
    device: DeviceProfile,
    *,
    settings: MeasureSettings | None = None,
    serials: Sequence[str] = (),
    note: Callable[[str], object],
    engine: Engine | None = None,
) -> Profiler:
    """What measures on a device: of this machine, or on all that an engine offers of it.

    Raises:
        EngineError: If the engine offers none.
        MeasurementError: If a device cannot be asked what it is.
    """
    calibration = partial(calibration_tokens, store)
    settings = settings or MeasureSettings()
    if engine is None:
        return Profiler(
            store, device, settings=settings, serials=serials, note=note, calibration=calibration
        )
    benches = placed_benches(
        engine, device, settings, note=note, calibration=calibration, cache=store.results / "cache"
    )
    return Profiler(store, device, settings=settings, benches=benches, note=note)


def pool_of(engine: Engine | None) -> Callable[[], Pool] | None:
    """Makes what trains on an engine; None: child processes."""
    return None if engine is None else lambda: PlacePool(engine.trainers())


@contextmanager
def open_session(
    store: Store, study: str, *, report: Reporter, pool: Callable[[], Pool] | None = None
) -> Iterator[Session]:
    """Hold a study for this process, to read it and to train for it.

    Raises:
        StoreError: If another process works on it, or the folder cannot be written.
    """
    with _held(store, study, report):
        yield Session(store, study, report, pool=pool)


@contextmanager
def open_measuring(
    store: Store, setup: Setup, *, report: Reporter, engine: Engine | None = None
) -> Iterator[MeasuringSession]:
    """Hold a study for this process, to measure for it, too.

    Where a device is this machine, it waits until no other process measures here; an engine's
    nodes do that for themselves.

    Raises:
        StoreError: If another process works on it, or the folder cannot be written.
    """
    here = () if engine else setup.devices
    with _held(store, setup.study, report), processors_held(here, setup.study, report):
        yield MeasuringSession(store, setup, report, engine=engine)


@contextmanager
def processors_held(
    devices: Sequence[DeviceProfile], what: str, report: Reporter
) -> Iterator[None]:
    """Hold this machine's processors, where one of the devices is this machine."""
    if any(map(takes_processors, devices)):
        with machine_held(what, note=report.note):
            yield
    else:
        yield


@contextmanager
def _held(store: Store, study: str, report: Reporter) -> Iterator[None]:
    """Hold a study; what killed processes left is removed first, for a disk may be full of it."""
    with study_held(store, study, note=report.note):
        for pattern in _LEFTOVERS:
            sweep(store.results, pattern)
        sweep_temporary()
        yield
