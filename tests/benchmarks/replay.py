"""What the rounds of a database tell: each shape by itself, beside others, and with all shapes.

    python tests/benchmarks/replay.py results/phonelm.db --precision int4-b32 -o replay.csv

For each workload: how far processes are apart, what a fit of shapes and processes leaves, and how
many pairs of shapes are told apart: by Welch's test of their own rounds, by the fit, and by the
fit with what all shapes say of each. Halves of the processes, fitted apart, say how often the
intervals hold (the difference of their differences should be 0 in 95 % of pairs) and how often
pairs that both halves tell apart are in the same order. Last, what shapes that are held out are
predicted with.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import write_table
from scipy.stats import ttest_ind

from phonelm_search.core.precision import Precision, get_precision
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE, LatencyComparison, RoundColumns
from phonelm_search.speed import LatencyModel
from phonelm_search.store import Store


def told_alone(rounds: Sequence[RoundMedian], ids: Sequence[str]) -> float:
    """Share of pairs that Welch's test of each shape's own rounds tells apart."""
    own = [[np.log(m.paired_ns) for m in rounds if m.shape_id == i and not m.twin] for i in ids]
    pairs = zip(*np.triu_indices(len(ids), 1), strict=True)
    return float(np.mean([ttest_ind(own[i], own[j], equal_var=False).pvalue < 0.05
                          for i, j in pairs]))  # fmt: skip


def differences(draws: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of all pairs' differences."""
    i, j = np.triu_indices(draws.shape[1], 1)
    found = draws[:, i] - draws[:, j]
    return found.mean(axis=0), found.std(axis=0)


class Told:
    """Rounds by the fit, and with what all shapes say of each."""

    def __init__(
        self, rounds: Sequence[RoundMedian], shapes: dict[str, ModelShape], scheme: Precision,
        workload: Workload,
    ) -> None:  # fmt: skip
        self.comparison = LatencyComparison(RoundColumns.of(rounds))
        self.ids = [i for i in self.comparison.shape_ids if i != REFERENCE.shape_id]
        draws = np.stack([self.comparison.log_ms(i) for i in self.ids], axis=1)
        known = {i: shapes[i] for i in self.ids}
        self.model = LatencyModel.of(self.comparison, known, scheme, workload)
        self.draws = {"fit": draws, "pooled": self.model.measured_draws()}


def halves(
    rounds: Sequence[RoundMedian], splits: int, *about: Any
) -> dict[str, tuple[float, float]]:
    """Coverage, and agreement in order, of random halves of the processes."""
    names = list(dict.fromkeys(m.process for m in rounds))
    held: dict[str, list[float]] = {"fit": [], "pooled": []}
    same: dict[str, list[float]] = {"fit": [], "pooled": []}
    for seed in range(splits):
        first = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2])
        parts = [Told([m for m in rounds if (m.process in first) == w], *about) for w in (1, 0)]
        common = [i for i in parts[0].ids if i in parts[1].ids]
        for kind in held:
            told = [p.draws[kind][:, [p.ids.index(i) for i in common]] for p in parts]
            (a, da), (b, db) = map(differences, told)
            held[kind].append(np.mean(np.abs(a - b) < Z_95 * np.hypot(da, db)))
            both = (np.abs(a) > Z_95 * da) & (np.abs(b) > Z_95 * db)
            same[kind].append(np.mean(np.sign(a[both]) == np.sign(b[both])))
    return {k: (float(np.mean(held[k])), float(np.mean(same[k]))) for k in held}


def main() -> None:
    """A row for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("--precision", default="int4-b32")
    parser.add_argument("--splits", type=int, default=6, help="random halves of the processes")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    store = Store(options.database.parent, create=False)
    scheme = get_precision(options.precision)
    kinds: dict[tuple[Workload, str, str], set[str]] = {}
    for m in store.measurements():
        if not m.is_control and m.weights_source == "memory":
            kinds.setdefault((m.workload, m.cache_mode, m.environment_id), set()).add(m.shape_id)
    rows = []
    for (workload, mode, environment_id), ids in kinds.items():
        common = {"cache_mode": mode, "environment_id": environment_id}
        rounds = store.companion_rounds(ids, workload, common)
        shapes = store.shapes(ids)
        told = Told(rounds, shapes, scheme, workload)
        split = halves(rounds, options.splits, shapes, scheme, workload)
        effects, held_out = told.comparison.effects, told.model.held_out
        apart = {
            kind: float(np.mean(np.abs(mean) > Z_95 * deviation))
            for kind, draws in told.draws.items()
            for mean, deviation in [differences(draws)]
        }
        twins = [told.comparison.twin_ratio(i) for i in told.comparison.twins]
        rows.append(
            {
                "workload": workload.name,
                "shapes": len(told.ids),
                "rounds": len(rounds),
                "processes": len(told.comparison.processes),
                "between_processes": round(float(np.median(effects.spread)), 4),
                "rest": round(float(np.median(effects.rest)), 4),
                "made_first": round(float(np.median(effects.covariates[:, 0])), 4),
                "pairs_told_alone": round(told_alone(rounds, told.ids), 3),
                "pairs_told_by_fit": round(apart["fit"], 3),
                "pairs_told_pooled": round(apart["pooled"], 3),
                "halves_hold_fit": round(split["fit"][0], 3),
                "halves_hold_pooled": round(split["pooled"][0], 3),
                "order_agrees_fit": round(split["fit"][1], 4),
                "order_agrees_pooled": round(split["pooled"][1], 4),
                "held_out_median": round(held_out.median, 4),
                "held_out_p95": round(held_out.p95, 4),
                "held_out_noise": round(held_out.noise, 4),
                "twins": len(twins),
                "twins_hold_1": sum(t.low <= 1 <= t.high for t in twins),
            }
        )
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
