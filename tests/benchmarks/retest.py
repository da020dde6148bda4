"""Test–retest: the same ten shapes twice, in separate processes and databases.

python tests/benchmarks/retest.py --pause 300 -o results/retest.csv
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import say, write_table

from phonelm_search.devices import load_device
from phonelm_search.measure import LatencySummary, Profiler, Request
from phonelm_search.pareto import non_dominated
from phonelm_search.precision import get_precision
from phonelm_search.shape import ModelShape
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store
from phonelm_search.workload import Scenario, Workload

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)


def measure(shapes: list[ModelShape]) -> list[dict[Workload, LatencySummary]]:
    """All shapes in a database of their own."""
    profiler = Profiler(Store(Path(tempfile.mkdtemp())), load_device("host-cpu"))
    outcomes = profiler.measure([Request(shape=s, workloads=SCENARIO.workloads) for s in shapes])
    return [dict(o.latencies) for o in outcomes]


def main() -> None:
    """Measure twice, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--pause", type=float, default=300, help="seconds between the two")
    options = parser.parse_args()
    feasible = enumerate_space(load_space("slm-100m"), get_precision("int4-b32"))
    chosen = np.linspace(0, len(feasible) - 1, options.shapes).round().astype(int)
    shapes = [feasible.shape(int(row)) for row in chosen]
    say("first")
    first = measure(shapes)
    time.sleep(options.pause)
    say("second")
    second = measure(shapes)
    rows, fronts = [], []
    for found in (first, second):
        latency = [
            SCENARIO.end_to_end_ms(*(f[w].latency_ms for w in SCENARIO.workloads)) for f in found
        ]
        points = [[ms, -s.decoder_parameters] for ms, s in zip(latency, shapes, strict=True)]
        fronts.append(non_dominated(points))
    for i, s in enumerate(shapes):
        for work in SCENARIO.workloads:
            a, b = first[i][work], second[i][work]
            rows.append(
                {
                    "shape_id": s.shape_id,
                    "test": work.name,
                    "first_ms": round(a.latency_ms, 3),
                    "first_verdict": a.verdict,
                    "second_ms": round(b.latency_ms, 3),
                    "second_verdict": b.verdict,
                    "ratio": round(b.latency_ms / a.latency_ms, 4),
                    "first_front": bool(fronts[0][i]),
                    "second_front": bool(fronts[1][i]),
                }
            )
    for work in SCENARIO.workloads:
        ratios = np.array([r["ratio"] for r in rows if r["test"] == work.name])
        say(
            f"{work.name}: |ratio − 1| median {np.median(np.abs(ratios - 1)):.1%}, "
            f"largest {np.abs(ratios - 1).max():.1%}"
        )
    same = int((fronts[0] == fronts[1]).sum())
    say(f"front membership agrees for {same} of {len(shapes)} shapes")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
