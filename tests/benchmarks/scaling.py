"""A Ray cluster of this machine alone: tasks of two seconds on so many devices, over the ideal.

    python tests/benchmarks/scaling.py -o results/cluster-scaling.csv

Places whose task sleeps. What the processors did meanwhile is told by who did it: the driver, a
device's process, and what is Ray's own. Begin it on an idle machine.
"""

import argparse
import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # the tests' helpers
from common import say, write_table  # noqa: E402

_MARK = "PHONELM_SCALING"
_START_SECONDS = 8.0
_TICKS = os.sysconf("SC_CLK_TCK")


def spent() -> dict[str, float]:
    """Processor seconds so far of who takes part."""
    found = {"driver": 0.0, "devices": 0.0, "ray": 0.0}
    ours = f"{_MARK}={os.getpid()}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            ticks = (entry / "stat").read_text().rpartition(")")[2].split()[11:13]
            seconds = sum(map(int, ticks)) / _TICKS
            if int(entry.name) == os.getpid():
                found["driver"] += seconds
            elif ours not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            elif line.startswith(("ray::IDLE", "ray::place_tasks")):
                found["devices"] += seconds
            else:
                found["ray"] += seconds
    return found


def _wait(place: Any, seconds: float) -> None:
    place.call("place_tasks:wait", {"seconds": seconds})


def scaling(
    counts: Sequence[int], lengths: Sequence[float], rounds: int
) -> Iterator[dict[str, float]]:
    """Tasks of so many seconds on so many places: how many a second, and what each costs."""
    from phonelm_search.work import open_ray, share
    from work.ray_cluster import cluster

    with cluster({}) as nodes:
        nodes.add({f"phonelm:sleeper:{i}": 1 for i in range(max(counts))}, cpus=2)
        with open_ray(nodes.address) as engine:
            every = list(engine.devices("sleeper", alone=False))
            took = math.inf
            while took > 1.1 * _START_SECONDS:  # until each has a process of its own
                begin = time.monotonic()
                share(every, [_START_SECONDS] * len(every), _wait, on_lost=lambda *_: None)
                took = time.monotonic() - begin
                say(f"{len(every)} tasks of {_START_SECONDS:.0f} s took {took:.1f} s")
            for count, seconds in product(counts, lengths):
                places, tasks = every[:count], count * rounds
                share(places, [0.1] * count, _wait, on_lost=lambda *_: None)
                begin, before = time.monotonic(), spent()
                share(places, [seconds] * tasks, _wait, on_lost=lambda *_: None)
                took, after = time.monotonic() - begin, spent()
                yield {
                    "devices": count, "round_s": seconds, "rounds": tasks,
                    "seconds": round(took, 2),
                    "rounds_per_s": round(tasks / took, 3),
                    "over_ideal": round(seconds * rounds / took, 3),
                    **{
                        f"{who}_ms_a_round": round(1000 * (after[who] - before[who]) / tasks, 2)
                        for who in after
                    },
                    "load_1min": os.getloadavg()[0],
                }  # fmt: skip


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from work.ray_cluster import own_token

    os.environ[_MARK] = str(os.getpid())  # whatever is started from here bears it
    with tempfile.TemporaryDirectory() as folder, own_token(Path(folder)):
        rows = []
        for row in scaling(options.devices, options.seconds, options.rounds):
            say(str(row))
            rows.append(row)
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
