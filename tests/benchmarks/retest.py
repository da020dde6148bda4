"""Test–retest: the same shapes twice, in separate databases, each shape and its twin.

    python tests/benchmarks/retest.py --shapes 16 --burner -o results/retest.csv

A row for each pair of the two runs: the ratio of a shape to the first one, end to end. Said on
stderr: how often intervals of ratios meet, whether the order of resolved pairs contradicts,
whether the front agrees, and how often the intervals of the A/A pairs hold 1. With ``--burner``
a process keeps one core busy all the while.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from common import say, write_table

from phonelm_search.core.pareto import membership_probability
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import load_device
from phonelm_search.measure import Profiler, Request, extent
from phonelm_search.reading import Place, Readings
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)


@contextlib.contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A burner on one core, where it is wanted."""
    if not wanted:
        yield
        return
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def measure(folder: Path, shapes: list[ModelShape], rounds: int) -> Readings:
    """All shapes and their twins in a database of their own; what it has already is kept."""
    device, store = load_device("host-cpu"), Store(folder)
    profiler = Profiler(store, device, note=say)
    profiler.measure(
        [
            Request(shape=s, workloads=SCENARIO.workloads, rounds=rounds, twin=twin)
            for s in shapes
            for twin in (False, True)
        ]
    )
    common = profiler.common(SCENARIO.workloads[0])
    versions = {name: int(common[f"{name}_version"]) for name in ("graph", "protocol")}
    place = Place(device=device, environment_id=profiler.environment_id, versions=versions)
    return Readings(store, place, SCENARIO, [s.shape_id for s in shapes])


def main() -> None:
    """Measure twice, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--shapes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--burner", action="store_true")
    parser.add_argument("--folder", type=Path, required=True, help="for the two databases")
    options = parser.parse_args()
    feasible = enumerate_space(load_space("slm-100m"), get_precision("int4-b32"))
    chosen = np.linspace(0, len(feasible) - 1, options.shapes).round().astype(int)
    shapes = [feasible.shape(int(row)) for row in chosen]
    with busy(options.burner):
        runs = [measure(options.folder / n, shapes, options.rounds) for n in ("first", "second")]
    draws = [
        np.stack([d for s in shapes if (d := r.end_to_end_draws(s.shape_id)) is not None], axis=1)
        for r in runs
    ]
    rows, meet, resolved, against = [], 0, 0, 0
    for i, j in combinations(range(len(shapes)), 2):
        first, second = (extent(d[:, i] / d[:, j]) for d in draws)
        meets = first.low <= second.high and second.low <= first.high
        meet += meets
        both = all(not e.low <= 1 <= e.high for e in (first, second))
        resolved += both
        against += both and (first.value < 1) != (second.value < 1)
        rows.append(
            {
                "shape_id": shapes[i].shape_id,
                "other_shape_id": shapes[j].shape_id,
                **{f"first_{k}": round(v, 4) for k, v in first._asdict().items()},
                **{f"second_{k}": round(v, 4) for k, v in second._asdict().items()},
                "meet": meets,
                "resolved_in_both": both,
            }
        )
    say(f"intervals of ratios meet in {meet / len(rows):.1%} of {len(rows)} pairs")
    say(f"{resolved} pairs are resolved in both, {against} of them against each other")
    size = [-float(s.decoder_parameters) for s in shapes]
    fronts = [membership_probability(d, size) > 0.5 for d in draws]
    say(f"the front agrees for {int((fronts[0] == fronts[1]).sum())} of {len(shapes)} shapes")
    held = []
    for run in runs:
        for comparison in run.comparisons.values():
            ratios = [comparison.twin_ratio(i) for i in comparison.twins]
            held += [r.low <= 1 <= r.high for r in ratios]
    say(f"intervals of {len(held)} A/A pairs hold 1 in {np.mean(held):.1%}")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
