"""Kills at random moments of `run tiny`: rows lost, rows doubled, leftovers, the pick.

    python tests/benchmarks/kills.py --kills 50 --folder kills -o results/kills.csv

A process group is killed at a random moment and started again, until it comes to its end; then its
shapes and its pick are compared with those of a run that nobody killed, and the next one begins
afresh. A row a kill, written as it goes; told again, the script goes on. Trainings are told by a
formula, and the rounds' own reference is small: it is tried what is kept, not how long it takes.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common import say

SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
STUDY = "study"
_MOST_SECONDS = 600.0
_RUN = Path(__file__).resolve().with_name("told_run.py")
_TABLES = {
    "phonelm_measurements": "id, key, round, samples_ns",
    "phonelm_scores": "id, settings_id, shape_id, seed, bits_per_byte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What one kill did."""

    kill: int
    runtime: str
    signal: str
    seconds: float
    """From the start of the process."""
    code: int | None
    """Its exit code; None where it had come to its end before."""
    traceback: bool
    rows: int
    """Committed rows after it."""
    lost: int
    """Committed before it, and no longer."""
    doubled: int
    processes: int
    """Left behind."""
    swept: bool
    """Whether the next run left nothing of it: see `leftovers`."""
    same: bool | None
    """Whether shapes and pick are those of a run that was not killed; None: it goes on."""


class Place:
    """A folder that a run is started in, again and again."""

    def __init__(self, folder: Path, runtime: str, trials: int) -> None:
        self.folder, self.runtime, self.trials = folder, runtime, trials
        self.temporary = folder / "tmp"

    def make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        (self.folder / "device_profiles").mkdir()
        (self.folder / "device_profiles/killed.yaml").write_text(
            f"name: killed\nruntime: {self.runtime}\nthreads: 1\ncache: warm\n"
        )

    def start(self) -> "subprocess.Popen[str]":
        variables = {"TMPDIR": str(self.temporary.resolve()), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, str(_RUN), "run", "tiny", "--device", "killed", "--study", STUDY,
             "--trials", str(self.trials), "--minutes", "60", "--scenario", "chat=16:8"],
            cwd=self.folder, env={**os.environ, **variables}, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def rows(self) -> set[tuple[object, ...]]:
        """All that is committed."""
        found: set[tuple[object, ...]] = set()
        for table, columns in _TABLES.items():
            found |= {(table, *row) for row in self._query(f"SELECT {columns} FROM {table}")}
        return found

    def doubled(self) -> int:
        """Measurements of one process and complete trials of one point that are there twice."""
        rounds = (
            "SELECT 1 FROM phonelm_measurements GROUP BY key, round, process HAVING COUNT(*) > 1"
        )
        points = (
            "SELECT 1 FROM (SELECT t.trial_id, (SELECT value_json FROM trial_user_attributes u "
            "WHERE u.trial_id = t.trial_id AND u.key = 'shape_id') AS shape FROM trials t WHERE "
            "t.state = 'COMPLETE') GROUP BY shape HAVING COUNT(*) > 1"
        )
        return len(self._query(rounds)) + len(self._query(points))

    def answer(self) -> tuple[object, ...]:
        """Shapes of the study, and the pick."""
        query = "SELECT shape_id FROM phonelm_study_shapes WHERE role = 'trial'"
        config = json.loads((self.folder / "results" / STUDY / "winner/config.json").read_text())
        return sorted(self._query(query)), json.dumps(config, sort_keys=True)

    def leftovers(self) -> list[str]:
        """Temporary files, files under way, trials that nobody will close."""
        found = [p.name for p in self.temporary.iterdir()]
        results = self.folder / "results"
        found += [p.name for p in results.rglob(".*") if not p.name.endswith((".lock", "-journal"))]
        found += [p.name for p in results.rglob("*.part*")]
        open_trials = "SELECT number FROM trials WHERE state IN ('RUNNING', 'WAITING')"
        return found + [f"trial {n}" for (n,) in self._query(open_trials)]

    def processes(self) -> list[int]:
        """Those that were started in the folder and live."""
        wanted = f"TMPDIR={self.temporary.resolve()}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def _query(self, query: str) -> list[tuple[object, ...]]:
        database = self.folder / "results/phonelm.db"
        if not database.exists():
            return []
        with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError as error:  # no table yet
                if "no such table" in str(error):
                    return []
                raise


def killed(place: Place, name: str, seconds: float) -> tuple[int | None, bool]:
    """Start a run and kill its group; its exit code and whether it printed a traceback.

    The code is None where it came to its end before. What was printed is kept beside the folder.
    """
    process = place.start()
    try:
        _, text = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, getattr(signal, name))
        _, text = process.communicate(timeout=_MOST_SECONDS)
        if process.returncode:
            if "Traceback" in text:
                place.folder.with_name(f"traceback-{process.pid}.txt").write_text(text)
            return process.returncode, "Traceback" in text
    if process.returncode:
        raise SystemExit(f"the run must come to its end, it failed: {text[-1000:]}")
    return None, "Traceback" in text


def uninterrupted(place: Place) -> tuple[float, tuple[object, ...]]:
    """How long a run takes that nobody kills, and its answer."""
    place.make()
    begin = time.monotonic()
    killed(place, "SIGKILL", _MOST_SECONDS)
    return time.monotonic() - begin, place.answer()


def kills(
    folder: Path, runtime: str, count: int, *, trials: int, first: int, seed: int,
    signals: Sequence[str],
) -> Iterator[Kill]:  # fmt: skip
    """Kill until there are so many; the last run is let come to its end."""
    draw = random.Random(seed + first)
    usual = Place(folder / "usual", runtime, trials)
    whole, answer = uninterrupted(usual)
    repeats = usual.doubled()  # of a shape that a sampler asks for twice, and that is not measured
    say(f"a run takes {whole:.0f} s; {len(usual.leftovers())} leftovers")
    place = Place(folder / "killed", runtime, trials)
    place.make()
    number, held = first, None
    before: set[tuple[object, ...]] = set()
    while number < count or held is not None:
        last = number >= count
        name = signals[number % len(signals)]
        seconds = _MOST_SECONDS if last else draw.uniform(0, whole)
        code, traceback = killed(place, name, seconds)
        gone = _after(place)
        rows = place.rows()
        lost, doubled = len(before - rows), max(0, place.doubled() - repeats)
        before = rows
        if code is not None:
            if held is not None:
                yield replace(held, swept=True, lost=held.lost, doubled=held.doubled)
            held = Kill(
                kill=number, runtime=runtime, signal=name, seconds=round(seconds, 2), code=code,
                traceback=traceback, rows=len(rows), lost=lost, doubled=doubled, processes=gone,
                swept=False, same=None,
            )  # fmt: skip
            number += 1
            continue
        left = place.leftovers()
        if left:
            say(f"left: {', '.join(left)}")
        if held is not None:
            yield replace(
                held, swept=not left, same=place.answer() == answer,
                lost=held.lost + lost, doubled=max(held.doubled, doubled),
            )  # fmt: skip
        held, before = None, set()
        place.make()


def _after(place: Place) -> int:
    """Processes that outlive theirs by more than a moment."""
    for _ in range(40):
        if not place.processes():
            return 0
        time.sleep(0.05)
    return len(place.processes())


def main() -> None:
    """Kill, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runtime", default="fake", help="or onnxruntime: this machine")
    parser.add_argument("--signals", nargs="+", default=SIGNALS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the runs")
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    known = 0
    if options.output and options.output.exists():
        with options.output.open(newline="") as file:
            known = sum(row["runtime"] == options.runtime for row in csv.DictReader(file))
    fresh = not (options.output and options.output.exists())
    with contextlib.ExitStack() as stack:
        file = sys.stdout
        if options.output:
            file = stack.enter_context(options.output.open("a", newline=""))
        writer = csv.DictWriter(file, list(Kill.__dataclass_fields__), lineterminator="\n")
        if fresh:
            writer.writeheader()
        for kill in kills(
            options.folder, options.runtime, options.kills, first=known, seed=options.seed,
            signals=options.signals, trials=options.trials,
        ):  # fmt: skip
            writer.writerow(asdict(kill))
            file.flush()
            say(str(kill))


if __name__ == "__main__":
    main()
