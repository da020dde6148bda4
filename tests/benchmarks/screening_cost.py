"""Cost of screening a space by blocks against whole models one by one.

A sample of the plan's truncated models and a sample of whole models are measured, reference rounds
and repeats included; both are extrapolated to the space, and the table says so.

    python tests/benchmarks/screening_cost.py -o results/screening-cost.csv
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import say, write_table

from phonelm_search.devices import load_device
from phonelm_search.latency import device_costs, plan_blocks
from phonelm_search.measure import Profiler, Request
from phonelm_search.precision import get_precision
from phonelm_search.shape import ModelShape
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store
from phonelm_search.workload import Scenario

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)


def main() -> None:
    """Measure samples, extrapolate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--space", default="slm-100m")
    parser.add_argument("--sample", type=int, default=12)
    options = parser.parse_args()
    feasible = enumerate_space(load_space(options.space), get_precision("int4-b32"))
    shapes = [feasible.shape(row) for row in range(len(feasible))]
    store = Store(Path(tempfile.mkdtemp()))
    profiler = Profiler(store, load_device("host-cpu"))
    plans = plan_blocks(shapes, SCENARIO.workloads, device_costs(store, profiler))
    models = list(dict.fromkeys(s for p in plans for s in p.shapes))
    say(f"{len(shapes)} shapes, {len(plans)} blocks, {len(models)} truncated models")
    rng = np.random.default_rng(0)

    def sample(of: list[ModelShape]) -> list[ModelShape]:
        rows = rng.choice(len(of), min(options.sample, len(of)), replace=False)
        return [of[int(r)] for r in rows]

    seconds: dict[str, list[float]] = {"blocks": [], "whole": []}
    parts = {"blocks": sample(models), "whole": sample(shapes)}
    for start in range(0, options.sample, 4):  # in turn
        for kind, chosen in parts.items():
            part = chosen[start : start + 4]
            began = time.monotonic()
            profiler.measure([Request(shape=s, workloads=SCENARIO.workloads) for s in part])
            seconds[kind].append((time.monotonic() - began) / len(part))
            say(f"{kind}: {seconds[kind][-1]:.1f} s a model")
    counts = {"blocks": len(models), "whole": len(shapes)}
    rows = [
        {
            "space": options.space,
            "method": kind,
            "models": counts[kind],
            "measured": len(parts[kind]),
            "seconds_a_model": round(float(np.mean(seconds[kind])), 2),
            "extrapolated_seconds": round(counts[kind] * float(np.mean(seconds[kind]))),
        }
        for kind in ("blocks", "whole")
    ]
    share = rows[0]["extrapolated_seconds"] / rows[1]["extrapolated_seconds"]
    say(f"blocks take {share:.2f} of the time of whole models (extrapolated)")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
