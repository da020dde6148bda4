"""How well measured shapes tell the latency of shapes that nobody measured.

    python tests/benchmarks/predict.py results -o predict.csv

Two trials on the rounds of a database, for each workload. *random*: 12 shapes of the usual size are
held out, their rounds included, and the others tell them, over 20 draws. *largest*: all shapes
of the usual size tell the larger ones. Truth is the fit of all rounds; its own deviation stands
beside the errors. Latencies are shares of the reference's. Said on stderr: seconds to fit, and to
predict a million shapes.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table
from scipy.stats import spearmanr

from phonelm_search.core.precision import Precision, get_precision
from phonelm_search.core.round_median import RoundMedian
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.measure import REFERENCE, LatencyComparison, RoundColumns
from phonelm_search.space import Columns, enumerate_space, load_space
from phonelm_search.speed import LatencyModel
from phonelm_search.store import Store

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)
USUAL = 125e6  # decoder parameters; shapes above are large
HELD_OUT, DRAWS = 12, 20


class Trial:
    """Rounds of one workload, and the shapes that they are of."""

    def __init__(
        self, rounds: Sequence[RoundMedian], shapes: dict[str, ModelShape], scheme: Precision,
        workload: Workload,
    ) -> None:  # fmt: skip
        self._rounds, self._shapes = rounds, shapes
        self._scheme, self._workload = scheme, workload
        self._truth = LatencyComparison(RoundColumns.of(rounds))
        self.ids = [i for i in self._truth.shape_ids if i != REFERENCE.shape_id]

    def of_size(self, *, large: bool) -> list[str]:
        """Shapes above the usual size, or the others."""
        return [i for i in self.ids if (self._shapes[i].decoder_parameters > USUAL) == large]

    def model(self, ids: Sequence[str]) -> tuple[LatencyModel, Floats]:
        """What these shapes tell, from their rounds and the reference's alone; its log ms."""
        known = {*ids, REFERENCE.shape_id}
        comparison = LatencyComparison(
            RoundColumns.of([m for m in self._rounds if m.shape_id in known])
        )
        shapes = {i: self._shapes[i] for i in ids}
        found = LatencyModel.of(comparison, shapes, self._scheme, self._workload)
        return found, comparison.log_ms(REFERENCE.shape_id)

    def errors(self, told: Sequence[str], held: Sequence[str]) -> tuple[Floats, ...]:
        """Predicted over measured less 1, their deviation, both latencies, z-scores."""
        model, reference = self.model(told)
        predicted = model.predict(Columns.of([self._shapes[i] for i in held]))
        level = self._truth.log_ms(REFERENCE.shape_id)
        draws = np.stack([self._truth.log_ms(i) - level for i in held], axis=1)
        mean = predicted.mean - reference.mean()
        noise = draws.std(axis=0)
        z = (mean - draws.mean(axis=0)) / np.hypot(predicted.deviation, noise)
        return np.expm1(mean - draws.mean(axis=0)), noise, mean, draws.mean(axis=0), z


def row(trial: str, workload: Workload, told: int, found: Sequence[Floats]) -> dict[str, Any]:
    errors, noise, predicted, measured, z = found
    return {
        "workload": workload.name,
        "trial": trial,
        "told_by": told,
        "held_out": len(errors),
        "median_error": round(float(np.median(np.abs(errors))), 4),
        "p95_error": round(float(np.quantile(np.abs(errors), 0.95)), 4),
        "bias": round(float(np.median(errors)), 4),
        "rho": round(float(spearmanr(predicted, measured).statistic), 4),
        "own_deviation": round(float(np.median(noise)), 4),
        "within_95": round(float(np.mean(np.abs(z) < Z_95)), 3),
    }


def time_million(model: LatencyModel, scheme: Precision) -> None:
    """Say how long predicting a million shapes takes."""
    columns = Columns.of_space(enumerate_space(load_space("slm-100m"), scheme))
    many = Columns(
        **{f.name: np.resize(getattr(columns, f.name), 1_000_000) for f in fields(Columns)}
    )
    begin = time.perf_counter()
    model.predict(many)
    say(f"a million shapes are predicted in {time.perf_counter() - begin:.1f} s")


def main() -> None:
    """A row for each trial and workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--precision", default="int4-b32")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    store, scheme = Store(options.results, create=False), get_precision(options.precision)
    found = [m for m in store.measurements() if not m.is_control]
    ids = list(dict.fromkeys(m.shape_id for m in found))
    (environment_id,) = {m.environment_id for m in found}
    rows = []
    for workload in SCENARIO.workloads:
        mode = "warm" if workload.phase == "prefill" else "cold"
        common = {"cache_mode": mode, "environment_id": environment_id}
        rounds = store.companion_rounds(ids, workload, common)
        trial = Trial(rounds, store.shapes(ids), scheme, workload)
        usual, large = trial.of_size(large=False), trial.of_size(large=True)
        found_in = []
        for seed in range(DRAWS):
            mixed = np.random.default_rng(seed).permutation(usual).tolist()
            found_in.append(trial.errors(mixed[HELD_OUT:], mixed[:HELD_OUT]))
        joined = [np.concatenate(x) for x in zip(*found_in, strict=True)]
        rows.append(row("random", workload, len(usual) - HELD_OUT, joined))
        rows[-1]["rho"] = round(
            float(np.median([spearmanr(p, m).statistic for _, _, p, m, _ in found_in])), 4
        )
        if large:
            rows.append(row("largest", workload, len(usual), trial.errors(usual, large)))
        begin = time.perf_counter()
        model, _ = trial.model(usual)
        say(f"{workload.name}: a model of {len(usual)} shapes: {time.perf_counter() - begin:.1f} s")
        time_million(model, scheme)
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
