"""What tests of several rooms share."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache as cache_of
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import hypothesis
import pytest
from filelock import FileLock

from helpers import QUICK, REFERENCE_MODULES, SMALL_REFERENCE, small_text_of, small_texts
from phonelm_search.backends.host import available_bytes
from phonelm_search.backends.native import toolchain
from phonelm_search.store import Store, open_optuna_storage
from phonelm_search.train import TokenisedCorpus, load_text, tokenise
from phonelm_search.train.text import Text
from servers import Server, running_server

if TYPE_CHECKING:
    from work.ray_cluster import Nodes

MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30


hypothesis.settings.register_profile("machine", deadline=None)  # others compute, too
hypothesis.settings.load_profile("machine")


def pytest_configure() -> None:
    """Temporary folders in memory, where nothing waits for a disk; one thread for each worker."""
    if MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, available_bytes() or 0) > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch's and numpy's own mathematics


@pytest.fixture(scope="session", autouse=True)
def _logits_once() -> Iterator[None]:
    """The gate's reference is a function of shape, precision and seed: computed once for each."""
    from phonelm_search.measure import numerics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numerics, "expected_logits", cache_of(numerics.expected_logits))
        yield


@pytest.fixture(scope="session", autouse=True)
def _revisions_once() -> Iterator[None]:
    """Every database reads the same revisions, ours and Optuna's: each file is loaded once."""
    from alembic import util

    plain = util.load_python_file
    once = cache_of(plain)

    def loaded(folder: str, name: str) -> ModuleType:
        # What stands beside the revisions does something when it is loaded.
        return once(folder, name) if Path(folder).name == "versions" else plain(folder, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(util, "load_python_file", loaded)
        yield


@pytest.fixture(scope="session", autouse=True)
def _effects_once() -> Iterator[None]:
    """Effects are a function of rounds and seed: those of the fake runtime come again and again."""
    from phonelm_search.measure import latency_comparison
    from phonelm_search.measure.effects import Effects, Observations, fit_effects

    known: dict[tuple[int | bytes, ...], Effects] = {}

    def fitted(rounds: Observations, *, seed: int = 0) -> Effects:
        key = (seed, *(getattr(rounds, f.name).tobytes() for f in fields(Observations)))
        if key not in known:
            known[key] = fit_effects(rounds, seed=seed)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_comparison, "fit_effects", fitted)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_processors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers of this run measure beside each other: no number of theirs means anything."""
    with pytest.MonkeyPatch.context() as patch:
        lock = tmp_path_factory.mktemp("lock") / "measuring"
        patch.setattr("phonelm_search.work.machine.LOCK", lock)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run; what is made in it is made under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def ray_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """See `own_token`."""
    from work.ray_cluster import own_token

    with own_token(tmp_path_factory.mktemp("token")):
        yield


@pytest.fixture(scope="session")
def ray_nodes(ray_token: None) -> "Iterator[Nodes]":
    """A cluster of a head and two machines, for the tests of one group and so of one process."""
    from work.ray_cluster import cluster

    with cluster() as nodes:
        nodes.add({"phonelm:train": 2, "phonelm:pixel:A": 1, "phonelm:fake-phone:A": 1}, cpus=2)
        nodes.add({"phonelm:fake-phone:B": 1})
        yield nodes


@pytest.fixture(scope="session")
def text() -> Text:
    return load_text()


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    return shared / "tokens"


@pytest.fixture(scope="session")
def corpus(text: Text, cache: Path, shared: Path) -> TokenisedCorpus:
    """Half a megabyte of the embedded text as tokens, whose validation takes a moment only."""
    with FileLock(shared / "corpus.lock"):
        return tokenise(small_text_of(text), 512, cache)


@pytest.fixture(scope="session")
def native_runner(shared: Path) -> None:
    """The runner for this machine, compiled by the first worker that needs it."""
    with FileLock(shared / "runner.lock"):
        toolchain.build_runner(toolchain.HOST)


@pytest.fixture
def small_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference shape of thousands of parameters in place of 33M: it is in every round."""
    for module in REFERENCE_MODULES:
        monkeypatch.setattr(f"phonelm_search.{module}.REFERENCE", SMALL_REFERENCE)


@pytest.fixture
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures takes `helpers.QUICK` for the protocol, and no width makes a row suspect.

    For tests of what happens with measurements, not of how they are made.
    """
    monkeypatch.setattr("phonelm_search.stages.session.SETTINGS", QUICK)
    for module in ("measure.profiler", "measure.placement_sweep", "stages.new_phone"):
        monkeypatch.setattr(
            f"phonelm_search.{module}.MeasureSettings", lambda **changes: replace(QUICK, **changes)
        )
    monkeypatch.setattr("phonelm_search.measure.executor._LEAST_BANDWIDTH_BYTES", 2**20)
    # Copies of weights that a real cache does not hold take seconds to make for every process.
    monkeypatch.setattr("phonelm_search.backends.host.last_level_cache_bytes", lambda: 2**20)
    monkeypatch.setattr("phonelm_search.measure.verdict.WIDEST_HALF", 1e9)


@pytest.fixture
def small_text(text: Text) -> Iterator[None]:
    """See `helpers.small_texts`."""
    with small_texts(text):
        yield


@pytest.fixture
def inline_training() -> Iterator[None]:
    """Whoever trains does it in this process."""
    from inline import trained_inline

    with trained_inline():
        yield


@pytest.fixture
def quick_flow(
    quick_rounds: None, small_reference: None, inline_training: None, small_text: None
) -> None:
    """From a space to a pick on this machine in seconds."""


@pytest.fixture
def optuna_records() -> Iterator[list[logging.LogRecord]]:
    """What Optuna logs where a host program wants to see all that it has to say."""
    optuna = logging.getLogger("optuna")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    before = optuna.level
    optuna.addHandler(handler)
    optuna.setLevel(logging.INFO)
    yield records
    optuna.removeHandler(handler)
    optuna.setLevel(before)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server; its tests are of one group, so that one worker starts it."""
    with running_server() as started:
        if started is None:
            pytest.skip("no initdb is installed")
        yield started


@pytest.fixture(scope="session")
def prepared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database with our tables and Optuna's: copies of it are quick."""
    name = server.new_database()
    store = Store(tmp_path_factory.mktemp("prepared"), url=server.url(name))
    storage = open_optuna_storage(store)
    storage.engine.dispose()
    store.engine.dispose()
    return name


@pytest.fixture
def server_url(server: Server, prepared: str) -> Iterator[str]:
    """The URL of a database that is empty but for its tables."""
    name = server.new_database(prepared)
    yield server.url(name)
    server.ask("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))]
)
def url(request: pytest.FixtureRequest) -> str | None:
    """Where a store keeps its tables: in its folder, and on a server."""
    return None if request.param == "sqlite" else request.getfixturevalue("server_url")
