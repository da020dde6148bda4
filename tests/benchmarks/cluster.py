"""A cluster on this machine: the same answer as one process, kills at random moments, company.

    python tests/benchmarks/cluster.py kills --kills 20 --folder F -o results/cluster-kills.csv
    python tests/benchmarks/cluster.py together --folder F

`run tiny` goes through a head, two machines with two simulated phones each, one that trains, and
PostgreSQL (`cluster_site`). It is held against one process with the fake runtime, whose formula
tells the phones' times, too. Then, while it runs, a worker, a node, a phone's adb, the server, a
whole machine, the head or the driver is killed; what a person would start again is. Together: two
drivers on one study, another study beside from another machine, and who reads meanwhile. Needs
Linux and root.
"""

import argparse
import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # the tests' helpers
from cluster_site import PHONES, STUDY, Run, Site, end, serial, site  # noqa: E402
from common import say  # noqa: E402
from machines import enter_network  # noqa: E402

KINDS = ("worker", "node", "adb", "server", "driver", "machine", "head")
_MOST_SECONDS = 600.0
_AWAY_SECONDS = 2.0
_OURS = "phonelm-search: "


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
    """Whether rounds, trainings and winner are those of one process that nobody disturbed."""
    said: str
    """What a driver said that ended by itself before that."""


class Killer:
    """Kills, and starts again what a person would."""

    def __init__(self, place: Site, draw: random.Random) -> None:
        self._site, self._draw = place, draw

    def kill(self, what: str, driver: "subprocess.Popen[bytes]") -> str:
        """Kill something; what it was."""
        victim: str = getattr(self, f"_{what}")(driver)
        return victim

    def _worker(self, driver: "subprocess.Popen[bytes]") -> str:
        while driver.poll() is None:
            for machine, pid, task in self._draw.sample(busy := self._site.busy(), len(busy)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return f"{task} on {machine}"
            time.sleep(0.05)
        return "none was busy"

    def _node(self, _: object) -> str:
        name = self._draw.choice([*PHONES, "trainer"])
        self._site.kill_node(name, "raylet/raylet")
        self._site.wait(name)
        time.sleep(_AWAY_SECONDS)
        threading.Thread(target=self._site.mend).start()
        return f"raylet on {name}"

    def _adb(self, _: object) -> str:
        name = self._draw.choice(list(PHONES))
        self._site.kill_node(name, "fork-server server")
        time.sleep(_AWAY_SECONDS)
        for port in PHONES[name]:  # a cable needs no such word
            self._site.adb(name, "connect", serial(port))
        return f"adb on {name}"

    def _server(self, _: object) -> str:
        self._site.server.stop("immediate")
        time.sleep(_AWAY_SECONDS)
        self._site.server.start()
        return "PostgreSQL"

    def _driver(self, driver: "subprocess.Popen[bytes]") -> str:
        end(driver)
        return "driver"

    def _machine(self, _: object) -> str:
        name = self._draw.choice([*PHONES, "trainer"])
        self._site.machines[name].kill()
        self._site.wait(name)
        time.sleep(_AWAY_SECONDS)
        self._site.machines[name].start()
        threading.Thread(target=self._site.mend).start()
        return f"machine {name}"

    def _head(self, driver: "subprocess.Popen[bytes]") -> str:
        self._site.kill_node("head", "ray-node", "gcs_server", "raylet")
        driver.wait(_MOST_SECONDS)
        self._site.end_nodes()
        self._site.mend()
        return "head"


def alone(place: Site) -> tuple[object, ...]:
    """What one process with the fake runtime comes to."""
    here = Run(place, "here")
    if here.here() != 0:
        raise SystemExit(f"the run must end: {here.said[-2000:]}")
    return here.answer()


def usual(place: Site, device: str, answer: tuple[object, ...]) -> float:
    """How long a run takes that nobody kills; says whether it comes to the same."""
    there = Run(place, f"there-{device}")
    begin = time.monotonic()
    driver = there.start(device)
    seen: dict[tuple[str, str], int] = {}
    while driver.poll() is None:
        for machine, _, task in place.busy():
            seen[machine, task] = seen.get((machine, task), 0) + 1
        time.sleep(0.2)
    if driver.returncode != 0:
        raise SystemExit(f"the run must end: {there.said[-2000:]}")
    whole = time.monotonic() - begin
    say(f"{device}: a run takes {whole:.0f} s; at work: {seen}; rounds by: {there.serials()}")
    for name, ours, theirs in zip(
        ("shapes", "samples", "trainings", "winner"), answer, there.answer(), strict=True
    ):
        say(f"{name}: {'the same' if ours == theirs else f'{ours} here, {theirs} there'}")
    return whole


def kills(place: Site, first: int, count: int, seed: int) -> Iterator[Kill]:
    """Kill until there are so many, and see how each run ends."""
    draw = random.Random(seed + first)
    killer = Killer(place, draw)
    answer = alone(place)
    whole: dict[str, float] = {}
    number = first
    while number < count:
        what = KINDS[number % len(KINDS)]
        device = "sim" if what == "adb" else "fake-phone"
        if device not in whole:
            whole[device] = usual(place, device, answer)
        seconds = draw.uniform(0.1, 0.9) * whole[device]
        place.mend()
        run = Run(place, f"killed-{number}")
        begin = time.monotonic()
        driver = run.start(device)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(seconds)
            whole[device] = time.monotonic() - begin  # it was over before: once more, sooner
            continue
        before = run.rows()
        victim = killer.kill(what, driver)
        starts, code, said = 1, driver.wait(_MOST_SECONDS), ""
        while code != 0 and time.monotonic() - begin < _MOST_SECONDS:
            said = next((x for x in reversed(run.said.splitlines()) if x.startswith(_OURS)), said)
            time.sleep(_AWAY_SECONDS)
            starts += 1
            code = run.start(device).wait(_MOST_SECONDS)
        yield Kill(
            kill=number, what=what, seconds=round(seconds, 1), victim=victim, starts=starts,
            code=code, traceback="Traceback" in run.said,
            took_seconds=round(time.monotonic() - begin, 1), lost=len(before - run.rows()),
            doubled=run.doubled(), same=code == 0 and run.answer() == answer, said=said,
        )  # fmt: skip
        number += 1


def together(place: Site) -> None:
    """Two drivers on one study, another study on the same server, and who reads meanwhile."""
    answer = alone(place)
    usual(place, "sim", answer)
    first = Run(place, "first")
    driver = first.start("sim")
    while not first.rows() and driver.poll() is None:
        time.sleep(0.5)
    second = Run(place, "second", database=first.database)
    refused = second.start("sim")
    beside = Run(place, "beside", database=first.database)
    other = beside.start("sim", study="other", machine="trainer")
    say(f"a second driver of the study: {refused.wait()}, {second.said.splitlines()[-1]}")
    reads: list[int] = []
    while driver.poll() is None or other.poll() is None:
        done = subprocess.run(
            [sys.executable, "-m", "phonelm_search.cli.main", "pareto", STUDY, "--json",
             "--storage", first.url],
            check=False, capture_output=True,
        )  # fmt: skip
        reads.append(done.returncode)
        if done.returncode:
            say(f"a reader: {done.stderr.decode().strip()}")
    say(f"a reader read {reads.count(0)} times of {len(reads)}")
    say(f"both studies end with {driver.returncode} and {other.returncode}")
    say(f"the study is as alone: {first.answer() == answer}")
    say(f"the other one is, too: {beside.answer('other') == answer}")
    say(f"rounds by phone: {first.serials()}; doubled: {first.doubled()}")


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "together"])
    parser.add_argument("-o", "--output", type=Path, help="told again, rows are added")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("cluster"), help="not in /tmp")
    options = parser.parse_args()
    enter_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # machines end first
    options.folder.mkdir(parents=True, exist_ok=True)
    with site(options.folder) as place:
        if options.what == "together":
            together(place)
            return
        known = 0
        if options.output and options.output.exists():
            with options.output.open(newline="") as file:
                known = len(list(csv.reader(file))) - 1
        with contextlib.ExitStack() as stack:
            file = sys.stdout
            if options.output:
                file = stack.enter_context(options.output.open("a", newline=""))
            writer = csv.DictWriter(file, list(Kill.__dataclass_fields__), lineterminator="\n")
            if not known:
                writer.writeheader()
            for kill in kills(place, known, options.kills, options.seed):
                writer.writerow(asdict(kill))
                file.flush()
                say(str(kill))


if __name__ == "__main__":
    main()
