"""Test–retest: the same ten shapes twice, in separate processes and databases.

python tests/benchmarks/retest.py --pause 300 -o results/retest.csv
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table

from phonelm_search.core.latency import LatencySummary, ScenarioTime, Span
from phonelm_search.core.pareto import membership_probability
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.devices import load_device
from phonelm_search.measure import Profiler, Request
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)


def measure(shapes: list[ModelShape]) -> list[dict[Workload, LatencySummary]]:
    """All shapes in a database of their own."""
    profiler = Profiler(Store(Path(tempfile.mkdtemp())), load_device("host-cpu"))
    outcomes = profiler.measure([Request(shape=s, workloads=SCENARIO.workloads) for s in shapes])
    return [dict(o.latencies) for o in outcomes]


def front(shapes: list[ModelShape], spans: list[Span]) -> Any:
    """How probable each shape belongs to the front of latency and size."""
    points = [[t.ms, -s.decoder_parameters] for t, s in zip(spans, shapes, strict=True)]
    return membership_probability(points, [[(t.high_ms - t.low_ms) / 3.92, 0.0] for t in spans])


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
    times = [[t for f in found if (t := ScenarioTime.of(SCENARIO, f))] for found in (first, second)]
    likely = [front(shapes, [t.end_to_end for t in part]) for part in times]
    rows: list[dict[str, Any]] = []
    for i, s in enumerate(shapes):
        for name, spans in {
            SCENARIO.workloads[0].name: [part[i].ttft for part in times],
            SCENARIO.workloads[1].name: [part[i].tpot for part in times],
            "end-to-end": [part[i].end_to_end for part in times],
        }.items():
            a, b = spans
            rows.append(
                {
                    "shape_id": s.shape_id,
                    "test": name,
                    "first_ms": round(a.ms, 3),
                    "first_low_ms": round(a.low_ms, 3),
                    "first_high_ms": round(a.high_ms, 3),
                    "second_ms": round(b.ms, 3),
                    "second_low_ms": round(b.low_ms, 3),
                    "second_high_ms": round(b.high_ms, 3),
                    "ratio": round(b.ms / a.ms, 4),
                    "intervals_meet": a.low_ms <= b.high_ms and b.low_ms <= a.high_ms,
                    "first_verdict": times[0][i].verdict,
                    "second_verdict": times[1][i].verdict,
                    "first_front_probability": round(float(likely[0][i]), 3),
                    "second_front_probability": round(float(likely[1][i]), 3),
                }
            )
    for name in (*(w.name for w in SCENARIO.workloads), "end-to-end"):
        part = [r for r in rows if r["test"] == name]
        off = np.abs([r["ratio"] - 1 for r in part])
        say(
            f"{name}: |ratio − 1| median {np.median(off):.1%}, largest {off.max():.1%}; "
            f"intervals meet for {sum(r['intervals_meet'] for r in part)} of {len(part)}"
        )
    same = int(((likely[0] > 0.5) == (likely[1] > 0.5)).sum())
    sure = (np.abs(likely[0] - 0.5) > 0.45) & (np.abs(likely[1] - 0.5) > 0.45)
    against = int(((likely[0] > 0.5) != (likely[1] > 0.5))[sure].sum())
    say(
        f"front: more probable than not in both or in neither for {same} of {len(shapes)} shapes; "
        f"{int(sure.sum())} are sure in both runs, of which {against} contradict each other"
    )
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
