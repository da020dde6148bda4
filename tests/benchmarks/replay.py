"""What the rounds of a database tell: each shape by itself, and all of them together.

    python tests/benchmarks/replay.py results/phonelm.db [--environment ID]

For each workload: how far processes are apart, what a fit of shapes and processes leaves, and how
many pairs of shapes are told apart, by intervals of each shape's own rounds and by the fit. Halves
of the processes, fitted apart, say how often its intervals hold: the difference of their
differences should be 0 in 95 % of pairs.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from phonelm_search.core.records import Measurement
from phonelm_search.measure import LatencyComparison, process_of, summarise
from phonelm_search.store import Store


def resolved_alone(rounds: Sequence[Measurement], shapes: Sequence[str]) -> float:
    """Share of pairs whose own intervals do not meet."""
    own = {s: summarise([m for m in rounds if m.shape_id == s]) for s in shapes}
    apart = [
        own[a].ci_high_ms < own[b].ci_low_ms or own[b].ci_high_ms < own[a].ci_low_ms
        for a, b in combinations(shapes, 2)
    ]
    return float(np.mean(apart))


def resolved_together(found: LatencyComparison, shapes: Sequence[str]) -> float:
    """Share of pairs whose ratio's interval does not hold 1."""
    ratios = [found.ratio(a, b) for a, b in combinations(shapes, 2)]
    return float(np.mean([r.high < 1 or r.low > 1 for r in ratios]))


def held_by_halves(found: LatencyComparison, shapes: Sequence[str], seed: int) -> list[bool]:
    """For each pair, whether two halves of the processes agree about it within their intervals."""
    drawn = np.random.default_rng(seed).permutation(len(found.processes))
    first = {found.processes[i] for i in drawn[: len(drawn) // 2]}
    halves = [
        LatencyComparison([m for m in found.rounds if (process_of(m) in first) == wanted])
        for wanted in (True, False)
    ]
    common = [s for s in shapes if all(s in h.shape_ids for h in halves)]
    held = []
    for a, b in combinations(common, 2):
        one, other = (h.log_ratios(a, b) for h in halves)
        low, high = np.quantile(one - other, [0.025, 0.975])
        held.append(bool(low <= 0 <= high))
    return held


def main() -> None:
    """Print a table of all workloads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--environment", help="its id; by default the one with most rounds")
    parser.add_argument("--splits", type=int, default=6, help="random halves of the processes")
    options = parser.parse_args()
    store = Store(options.database.parent, create=False)
    every = [m for m in store.measurements() if not m.is_control and m.weights_source == "memory"]
    environments = [m.environment_id for m in every]
    wanted = options.environment or max(set(environments), key=environments.count)
    kinds = defaultdict(list)
    for m in every:
        if m.environment_id == wanted:
            kinds[m.workload, m.cache_mode, m.protocol.get("max_seconds")].append(m)
    print("workload shapes rounds processes spread rest alone together halves-hold first-made")
    for (workload, _, _), found in kinds.items():
        together = LatencyComparison(found)
        counts = {s: sum(m.shape_id == s for m in found) for s in together.shape_ids}
        shapes = [s for s, n in counts.items() if n >= 2]
        if len(shapes) < 3:
            continue
        held = [h for seed in range(options.splits) for h in held_by_halves(together, shapes, seed)]
        effects = together.effects
        print(
            f"{workload.name} {len(shapes)} {len(found)} {len(together.processes)} "
            f"{effects.spread.mean():.1%} {effects.rest.mean():.1%} "
            f"{resolved_alone(found, shapes):.2f} {resolved_together(together, shapes):.2f} "
            f"{np.mean(held) if held else np.nan:.2f} {effects.covariates.mean():+.1%}"
        )


if __name__ == "__main__":
    main()
