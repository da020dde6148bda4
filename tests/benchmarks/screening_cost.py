"""Cost of screening a space by blocks against whole models one by one.

Samples of the plan's models and of whole models are measured in turn, numerics gates and repeats
included; all are extrapolated to the space, and the table says so. Blocks pay for their planning,
too, and for the front that is measured whole in the end.

    python tests/benchmarks/screening_cost.py -o results/screening-cost.csv
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import say, write_table

from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import load_device
from phonelm_search.measure import Profiler, Request
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.speed import device_costs, plan_blocks
from phonelm_search.store import Store

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)
FRONT = 12  # shapes of the front and near-front that are measured whole after screening
METHODS = {
    "blocks": ("truncated models, 12 a process, and the front whole", 12, 12),
    "shared": ("whole models, 4 a process", 4, 4),
    "whole": ("whole models, one by one", 4, 1),
}
"""Name, models measured in a turn, models in a call."""


def main() -> None:
    """Measure samples, extrapolate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--space", default="slm-100m")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    feasible = enumerate_space(load_space(options.space), get_precision("int4-b32"))
    shapes = [feasible.shape(row) for row in range(len(feasible))]
    store = Store(Path(tempfile.mkdtemp()))
    profiler = Profiler(store, load_device("host-cpu"))
    began = time.monotonic()
    plans = plan_blocks(shapes, SCENARIO.workloads, device_costs(store, profiler))
    planning = time.monotonic() - began
    models = list(dict.fromkeys(s for p in plans for s in p.shapes))
    truncated = {s for p in plans for s in p.truncated}
    say(
        f"{len(shapes)} shapes, {len(plans)} blocks, {len(models)} models, of which "
        f"{len(truncated)} truncated; planned in {planning:.1f} s"
    )
    rng = np.random.default_rng(0)

    def sample(of: list[ModelShape], size: int) -> list[ModelShape]:
        rows = rng.choice(len(of), size, replace=False)
        return [of[int(r)] for r in rows]

    seconds: dict[str, list[float]] = {kind: [] for kind in METHODS}
    measured = dict.fromkeys(METHODS, 0)
    for turn in range(options.turns):
        for kind, (_, size, together) in METHODS.items():
            part = sample(models if kind == "blocks" else shapes, size)
            requests = [
                Request(
                    shape=s,
                    workloads=SCENARIO.workloads,
                    truncated=kind == "blocks" and s in truncated,
                )
                for s in part
            ]
            began = time.monotonic()
            for start in range(0, len(requests), together):
                profiler.measure(requests[start : start + together])
            seconds[kind].append((time.monotonic() - began) / len(part))
            measured[kind] += len(part)
            say(f"turn {turn + 1}, {kind}: {seconds[kind][-1]:.1f} s a model")
    rows = []
    for kind, (title, _, _) in METHODS.items():
        count = len(models) if kind == "blocks" else len(shapes)
        each = float(np.mean(seconds[kind]))
        extra = planning + FRONT * float(np.mean(seconds["shared"])) if kind == "blocks" else 0.0
        rows.append(
            {
                "space": options.space,
                "method": title,
                "models": count,
                "measured": measured[kind],
                "seconds_a_model": round(each, 2),
                "extrapolated_seconds": round(count * each + extra),
            }
        )
    for row in rows:
        row["share_of_one_by_one"] = round(
            row["extrapolated_seconds"] / rows[-1]["extrapolated_seconds"], 3
        )
        say(f"{row['method']}: {row['share_of_one_by_one']:.2f} (extrapolated)")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
