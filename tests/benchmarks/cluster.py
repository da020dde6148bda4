"""A Ray cluster of this machine alone: what kills at random moments do, and what a task costs.

    python tests/benchmarks/cluster.py kills --kills 20 --folder F -o results/cluster-kills.csv
    python tests/benchmarks/cluster.py scaling --folder F -o results/cluster-scaling.csv

A head, two nodes with two fake phones each, and one that trains, each a raylet of its own. `run
tiny` goes through all of them; meanwhile a worker, a node (which is back after a moment) or the
driver (which is started again) is killed. Then rounds, trainings and winner are held against those
of a run that nobody disturbed. Scaling: places whose task sleeps for two seconds.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # the tests' helpers
from common import say  # noqa: E402

KINDS = ("worker", "node", "driver")
STUDY = "study"
_RUN = (
    "run", "tiny", "--device", "fake-phone", "--trials", "4", "--study", STUDY, "--minutes", "60",
    "--proxy-parameters", "30k", "--tokens-per-parameter", "0.05", "--scenario", "chat=16:8",
)  # fmt: skip
_MOST_SECONDS = 900.0
_BUSY = ("ray::placed", "ray::worker")  # measuring, training
_NODES: Sequence[tuple[dict[str, float], int]] = (
    ({"phonelm:fake-phone:A": 1, "phonelm:fake-phone:B": 1}, 1),
    ({"phonelm:fake-phone:C": 1, "phonelm:fake-phone:D": 1}, 1),
    ({"phonelm:train": 2}, 2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What one kill did."""

    kill: int
    what: str
    seconds: float
    """From the start of the run."""
    victim: str
    """What was killed."""
    starts: int
    """Of the driver until it came to its end."""
    code: int
    """Its last exit code."""
    traceback: bool
    took_seconds: float
    lost: int
    """Rows that were there at the kill and are no longer."""
    doubled: int
    same: bool
    """Whether rounds, trainings and winner are those of a run that nobody disturbed."""


def run_once(address: str) -> int:
    """The driver: rounds are short, and how training is fastest is not measured but told."""
    import pytest

    from helpers import QUICK, small_texts
    from phonelm_search.cli.main import run_command
    from phonelm_search.train import load_text
    from phonelm_search.train.pool import PlacePool
    from phonelm_search.train.settings import Acceleration

    usual = Acceleration(number_type="fp32", compiled=False, tokens_per_s={})
    with pytest.MonkeyPatch.context() as patch, small_texts(load_text()):
        patch.setattr(PlacePool, "fastest", lambda *_: usual)
        patch.setattr("phonelm_search.stages.session.SETTINGS", QUICK)
        return run_command([*_RUN, "--engine", "ray", "--address", address])


class Run:
    """A folder that the driver works in."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self._address = folder, address

    def make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "device_profiles").mkdir(parents=True)
        (self.folder / "device_profiles/fake-phone.yaml").write_text(
            "name: fake-phone\nruntime: fake\nthreads: 1\ncache: warm\n"
        )

    def start(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "stderr").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), "run", self._address],
                cwd=self.folder, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip

    def rows(self) -> set[tuple[Any, ...]]:
        """Rounds and trainings that are committed."""
        from phonelm_search.store import Store

        if not (self.folder / "results/phonelm.db").exists():
            return set()
        store = Store(self.folder / "results", create=False)
        rounds = {("round", m.key, m.round, m.process) for m in store.measurements()}
        return rounds | {
            ("score", e["shape_id"], e["settings_id"])
            for r in store.studies()
            for e in (r.config.get("score") or {}).get("ladder", ())
        }

    def answer(self) -> tuple[Any, ...]:
        """Samples of the study's shapes, bits of its trainings, and the winner."""
        from phonelm_search.store import Store

        store = Store(self.folder / "results", create=False)
        shapes = sorted(p.shape_id for p in store.study_shapes(STUDY) if p.role == "trial")
        rounds = store.measurements(shape_ids=shapes)
        samples = {(m.shape_id, m.workload.name, m.samples_ns) for m in rounds}
        ladder = store.study(STUDY).config["score"]["ladder"]
        bits = {
            s.chunk_bits
            for e in ladder
            for s in store.scores(shape_ids=[e["shape_id"]], settings_id=e["settings_id"])
        }
        winner = (self.folder / "results" / STUDY / "winner/config.json").read_text()
        return shapes, samples, bits, json.loads(winner)

    def doubled(self) -> int:
        """Rounds of one key and number that are there twice, but for the rounds' own reference."""
        from phonelm_search.measure import REFERENCE
        from phonelm_search.store import Store

        store = Store(self.folder / "results", create=False)
        found = [(m.key, m.round) for m in store.measurements() if m.shape_id != REFERENCE.shape_id]
        return len(found) - len(set(found))


def workers() -> list[tuple[int, str]]:
    """Processes of Ray's that do tasks of ours, and what they do."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"PHONELM_BENCHMARK=%d" % os.getpid() not in (entry / "environ").read_bytes():
                continue
            name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if name.startswith(_BUSY):
                found.append((int(entry.name), name))
    return found


def kills(folder: Path, count: int, seed: int) -> Iterator[Kill]:
    """Kill so often, and see how each run ends."""
    from work.ray_cluster import cluster

    draw = random.Random(seed)
    os.environ["PHONELM_BENCHMARK"] = str(os.getpid())
    with cluster() as nodes:
        there = [nodes.add(resources, cpus=cpus) for resources, cpus in _NODES]
        usual = Run(folder / "usual", nodes.address)
        usual.make()
        begin = time.monotonic()
        if usual.start().wait(_MOST_SECONDS) != 0:
            raise SystemExit(f"the run must end: {(usual.folder / 'stderr').read_text()[-2000:]}")
        whole = time.monotonic() - begin
        answer = usual.answer()
        say(f"a run takes {whole:.0f} s; trainings: {len(answer[2])}")
        for number in range(count):
            what = KINDS[number % len(KINDS)]
            seconds = draw.uniform(0.1, 0.95) * whole
            run = Run(folder / "killed", nodes.address)
            run.make()
            begin = time.monotonic()
            driver = run.start()
            starts, victim = 1, "driver"
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(seconds)
            before = run.rows()
            if what == "driver":
                driver.kill()
            elif what == "worker":
                busy = workers()
                pid, victim = draw.choice(busy) if busy else (0, "none was busy")
                if pid:
                    os.kill(pid, signal.SIGKILL)
            else:
                i = draw.randrange(len(there))
                victim = ", ".join(_NODES[i][0])
                nodes.kill(there[i])
                time.sleep(2)
                there[i] = nodes.add(_NODES[i][0], cpus=_NODES[i][1])
            code = driver.wait(_MOST_SECONDS)
            while code != 0 and starts < 3:
                starts += 1
                code = run.start().wait(_MOST_SECONDS)
            text = (run.folder / "stderr").read_text(errors="replace")
            yield Kill(
                kill=number, what=what, seconds=round(seconds, 1), victim=victim, starts=starts,
                code=code, traceback="Traceback" in text,
                took_seconds=round(time.monotonic() - begin, 1), lost=len(before - run.rows()),
                doubled=run.doubled(), same=code == 0 and run.answer() == answer,
            )  # fmt: skip


def _wait(place: Any, seconds: float) -> None:
    place.call("place_tasks:wait", {"seconds": seconds})


def scaling(counts: Sequence[int], rounds: int) -> Iterator[dict[str, float]]:
    """Tasks of two seconds on so many places: how many a second, and what each costs the driver."""
    from phonelm_search.work import open_ray, share
    from phonelm_search.work.ray_engine import RayPlace
    from work.ray_cluster import cluster

    with cluster() as nodes:
        nodes.add({f"phonelm:sleeper:{i}": 1 for i in range(max(counts))})
        with open_ray(nodes.address) as engine:
            for count in counts:
                places: list[RayPlace] = list(engine.devices("sleeper", alone=False))[:count]
                share(places, [0.5] * count, _wait, on_lost=lambda *_: None)  # processes start
                begin, cpu = time.monotonic(), time.process_time()
                share(places, [2.0] * (count * rounds), _wait, on_lost=lambda *_: None)
                took, spent = time.monotonic() - begin, time.process_time() - cpu
                tasks = count * rounds
                yield {
                    "devices": count, "rounds": tasks, "seconds": round(took, 2),
                    "rounds_per_s": round(tasks / took, 3),
                    "over_ideal": round(2.0 * rounds / took, 3),
                    "driver_ms_a_round": round(1000 * spent / tasks, 2),
                    "load_1min": os.getloadavg()[0],
                }  # fmt: skip


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "scaling", "run"])
    parser.add_argument("address", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("cluster"))
    options = parser.parse_args()
    if options.what == "run":
        sys.exit(run_once(options.address))
    from work.ray_cluster import own_token

    options.folder.mkdir(parents=True, exist_ok=True)
    rows: Iterator[dict[str, Any]]
    if options.what == "kills":
        rows = (asdict(k) for k in kills(options.folder, options.kills, options.seed))
    else:
        rows = iter(scaling(options.devices, options.rounds))
    with own_token(options.folder.resolve()), contextlib.ExitStack() as stack:
        file = sys.stdout
        if options.output:
            file = stack.enter_context(options.output.open("w", newline=""))
        writer: Any = None
        for row in rows:
            writer = writer or csv.DictWriter(file, list(row), lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            say(str(row))


if __name__ == "__main__":
    main()
