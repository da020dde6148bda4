"""A cluster of machines that are none: a head, two with two phones each, one that trains.

PostgreSQL runs beside. Nodes are started by the command line, phones are simulated behind a real
adb, and each machine has a network, processes and temporary files of its own: see `machines`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machines import HUB, Machine, inner

from helpers import SMALL_REFERENCE
from phonelm_search.backends.native import cache_folder
from phonelm_search.backends.phone import bundle
from phonelm_search.core.errors import StoreMissingError
from phonelm_search.store import Store
from servers import Server, running_server
from work.ray_cluster import QUICK

TESTS = Path(__file__).parents[1]
PHONES = {"left": (5601, 5602), "right": (5603, 5604)}
MACHINES = ("head", *PHONES, "trainer")
BUSY = ("ray::told_phones:measure", "ray::told_phones:train", "ray::worker:train_job")
STUDY = "study"
_RUN = (
    "run", "tiny", "--trials", "4", "--minutes", "60", "--proxy-parameters", "30k",
    "--tokens-per-parameter", "0.05", "--scenario", "chat=16:8",
)  # fmt: skip
_PORT = 6379
_READY_SECONDS = 120.0
_PROFILES = {
    "sim": "connection: adb\nruntime: onnxruntime-native",
    "fake-phone": "runtime: fake",
}


def serial(port: int) -> str:
    """What adb calls a simulated phone."""
    return f"127.0.0.1:{port}"


class Site:
    """The machines, and what runs on them.

    Args:
        folder: For logs and what a person has in a home; not in /tmp, which machines don't share.
        server: PostgreSQL.
    """

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self._python = Path(sys.executable)
        self.variables = {
            "HOME": str(folder / "home"), "PHONELM_CACHE": str(cache_folder()),
            "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            **{f"RAY_{name}": str(value) for name, value in QUICK.items()},
        }  # fmt: skip
        for name in ("home", *MACHINES):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_profiles(folder / name)
        self.machines = {name: Machine(name, i + 1) for i, name in enumerate(MACHINES)}
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._mending = threading.Lock()
        self.mend()

    @property
    def address(self) -> str:
        """Of Ray's head."""
        return f"{self.machines['head'].address}:{_PORT}"

    def mend(self) -> None:
        """Start what does not run; all nodes are there then."""
        with self._mending:
            for name in MACHINES:
                self._plug(name)
                if name not in self._nodes or self._nodes[name].poll() is not None:
                    self._join(name)

    def wait(self, name: str) -> None:
        """Until a node has ended."""
        self._nodes[name].wait(30)

    def _plug(self, name: str) -> None:
        """Simulated phones, connected."""
        ports = PHONES.get(name, ())
        if ports and not self.machines[name].processes("phone.play"):
            self.start(name, "-m", "phone.play", *map(str, ports))
            time.sleep(3)
        for port in ports:
            self.adb(name, "connect", serial(port))

    def adb(self, name: str, *words: str) -> None:
        """Run adb on a machine."""
        with self._log(name) as log:
            process = self.machines[name].process(
                "adb", *words, folder=self.folder / name, variables=self.variables, log=log
            )
        process.wait(60)

    def _join(self, name: str) -> None:
        """Start a machine's node, as a person does."""
        here = self.machines[name].address
        words = ["--listen", here]
        if name != "head":
            words += ["--address", self.address]
        for port in PHONES.get(name, ()):
            words += ["--serial", serial(port)]
        words += ["--device", "sim", "--device", "fake-phone"] if name in PHONES else []
        words += ["--trainings", {"head": "0", "trainer": "2"}.get(name, "0")]
        log = self.folder / name / "log"
        before = log.read_text(errors="replace").count("this node offers") if log.exists() else 0
        self._nodes[name] = self.start(name, "-m", "phonelm_search.cli.main", "ray-node", *words)
        limit = time.monotonic() + _READY_SECONDS
        while log.read_text(errors="replace").count("this node offers") == before:
            if time.monotonic() > limit or self._nodes[name].poll() is not None:
                raise SystemExit(f"{name} must offer, {log}: {log.read_text()[-2000:]}")
            time.sleep(0.2)

    def start(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """Start Python on a machine; what it prints is in its log."""
        with self._log(name) as log:
            return self.machines[name].process(
                str(self._python), *words, folder=self.folder / name, variables=self.variables,
                log=log,
            )  # fmt: skip

    def _log(self, name: str) -> Any:
        return (self.folder / name / "log").open("ab")

    def busy(self) -> list[tuple[str, int, str]]:
        """Machine, process and task of all that measures and trains now."""
        found = []
        for name, machine in self.machines.items():
            for task in BUSY:
                found += [(name, pid, task) for pid in machine.processes(task)]
        return found

    def kill_node(self, name: str, *parts: str) -> None:
        """Kill processes of a machine's node."""
        for pid in self.machines[name].processes(*parts):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end_nodes(self) -> None:
        """End what is left of a cluster without a head."""
        for name in MACHINES:
            self.kill_node(name, "ray-node", "gcs_server", "raylet", "ray::", "dashboard/")
            self.wait(name)

    def stop(self) -> None:
        """Switch all off."""
        for machine in self.machines.values():
            machine.kill()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """All of it, for as long as this lasts."""
    bundle.fetch_wheel()
    bundle.glibc_bundle()
    with running_server(HUB) as server:
        if server is None:
            raise SystemExit("PostgreSQL must be installed")
        found = Site(folder.resolve(), server)
        try:
            yield found
        finally:
            found.stop()


def write_profiles(folder: Path) -> None:
    """Profiles of the phones and of the fake runtime."""
    (folder / "device_profiles").mkdir(exist_ok=True)
    for name, text in _PROFILES.items():
        (folder / f"device_profiles/{name}.yaml").write_text(
            f"name: {name}\n{text}\nthreads: 1\ncache: warm\n"
        )


class Run:
    """A folder and a database that drivers work in.

    Args:
        site: The machines.
        name: Of the folder.
        database: Of the server; None: a new one.
    """

    def __init__(self, site: Site, name: str, database: str | None = None) -> None:
        self.site, self.folder = site, site.folder / name
        self.database = database or site.server.new_database()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        write_profiles(self.folder)

    @property
    def url(self) -> str:
        """Of the database."""
        return self.site.server.url(self.database)

    def start(
        self, device: str, *, study: str = STUDY, machine: str = "head"
    ) -> "subprocess.Popen[bytes]":
        """A driver on a machine; ``fake-phone`` is quicker than ``sim``."""
        words = ["--device", device, "--engine", "ray", "--address", self.site.address]
        with self._stderr() as log:
            return self.site.machines[machine].process(
                *self._words(study, *words), folder=self.folder, variables=self.site.variables,
                log=log,
            )  # fmt: skip

    def here(self) -> int:
        """The same in one process, with the fake runtime; its exit code."""
        with self._stderr() as log:
            return subprocess.run(
                self._words(STUDY, "--device", "fake-phone"), cwd=self.folder, check=False,
                env={**os.environ, **self.site.variables}, stdout=log, stderr=log,
            ).returncode  # fmt: skip

    def _words(self, study: str, *words: str) -> list[str]:
        driver = Path(__file__).resolve().with_name("cluster_driver.py")
        return [sys.executable, str(driver), *_RUN, "--study", study, "--storage", self.url, *words]

    def _stderr(self) -> Any:
        return (self.folder / "stderr").open("ab")

    @property
    def said(self) -> str:
        """All that drivers printed."""
        return (self.folder / "stderr").read_text(errors="replace")

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The database, read from beside."""
        found = Store(self.folder / "results", url=self.url, create=False)
        try:
            yield found
        finally:
            found.engine.dispose()

    def rows(self) -> set[tuple[Any, ...]]:
        """Rounds and trainings that are committed."""
        with contextlib.suppress(StoreMissingError), self.store() as store:
            rounds = {("round", m.key, m.round, m.process) for m in store.measurements()}
            return rounds | {
                ("score", e["shape_id"], e["settings_id"])
                for r in store.studies()
                for e in (r.config.get("score") or {}).get("ladder", ())
            }
        return set()

    def answer(self, study: str = STUDY) -> tuple[Any, ...]:
        """Samples of the study's shapes, bits of its trainings, and the winner."""
        with self.store() as store:
            shapes = sorted(p.shape_id for p in store.study_shapes(study) if p.role == "trial")
            rounds = store.measurements(shape_ids=shapes)
            samples = {
                (m.shape_id, m.workload.name, m.samples_ns)
                for m in rounds
                if m.weights_source == "memory"  # else memory was measured
            }
            bits = {
                s.chunk_bits
                for e in store.study(study).config["score"]["ladder"]
                for s in store.scores(shape_ids=[e["shape_id"]], settings_id=e["settings_id"])
            }
        winner = (self.folder / "results" / study / "winner/config.json").read_text()
        return shapes, samples, bits, json.loads(winner)

    def serials(self) -> dict[str, int]:
        """Rounds by the phone that made them."""
        with self.store() as store:
            names = [str(m.conditions["before"].get("serial")) for m in store.measurements()]
        return {name: names.count(name) for name in sorted(set(names))}

    def doubled(self) -> int:
        """Rounds of one key and number that are there twice, but for the rounds' own reference."""
        with self.store() as store:
            found = [
                (m.key, m.round)
                for m in store.measurements()
                if m.shape_id != SMALL_REFERENCE.shape_id
            ]
        return len(found) - len(set(found))


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a driver."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(inner(process), signal.SIGKILL)
    process.wait()
