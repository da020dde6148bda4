"""Blocks against whole models: does a block estimate tell what the whole model measures?

Nine shapes of 100M to 1.5B parameters and 4 to 40 layers. A round of the truncated models and one
of the whole ones take turns within one run.

    python tests/benchmarks/blocks_vs_whole.py -o results/blocks-vs-whole.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import say, shape, write_table

from phonelm_search.devices import load_device
from phonelm_search.latency import BlockEstimator, device_costs
from phonelm_search.latency.block import layer_of
from phonelm_search.measure import MeasureSettings, Profiler, Request
from phonelm_search.store import Store
from phonelm_search.workload import decode, prefill

SHAPES = {
    "135M": shape(576, 1536, 30, 9, 3),
    "130M deep": shape(512, 1408, 40, 8, 4),
    "160M": shape(768, 2048, 20, 12, 4),
    "160M wide": shape(1024, 2816, 9, 16, 16),
    "170M shallow": shape(1536, 4096, 4, 24, 8),
    "150M": shape(768, 3072, 13, 12, 12),
    "360M": shape(960, 2560, 32, 15, 5),
    "0.5B": shape(1024, 4864, 24, 16, 16),
    "1.5B": shape(2560, 6816, 19, 16, 16),
}
WORK = (prefill(128), decode(64), decode(512))
ROUNDS = 4


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--results", type=Path, help="keep the database here")
    parser.add_argument("--only", nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    store = Store(options.results or Path(tempfile.mkdtemp()))
    profiler = Profiler(store, load_device("host-cpu"), settings=MeasureSettings(rounds=1))
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
    wanted = [SHAPES[name] for name in options.only]
    plans = estimator.plan(wanted, WORK)
    for i in range(ROUNDS):  # in turn, so that a change of the machine hits both
        say(f"round {i + 1}: blocks")
        estimator.estimate(wanted, WORK, plans, extra_rounds=i)
        say(f"round {i + 1}: whole models")
        requests = [Request(shape=s, workloads=WORK) for s in wanted]
        outcomes = profiler.measure(requests, extra_rounds=i)
    found = estimator.estimate(wanted, WORK, plans)
    rows = []
    depths = {p.block.layer: p.depths for p in plans}
    for name, model, outcome, estimated in zip(options.only, wanted, outcomes, found, strict=True):
        for work in WORK:
            whole, estimate = outcome.latencies[work], estimated.latencies[work]
            error = estimate.latency_ms / whole.latency_ms - 1
            rows.append(
                {
                    "shape": name,
                    "shape_id": model.shape_id,
                    "layers": model.num_hidden_layers,
                    "depths": " ".join(map(str, depths[layer_of(model)])),
                    "test": work.name,
                    "whole_ms": round(whole.latency_ms, 3),
                    "whole_low_ms": round(whole.ci_low_ms, 3),
                    "whole_high_ms": round(whole.ci_high_ms, 3),
                    "whole_verdict": whole.verdict,
                    "blocks_ms": round(estimate.latency_ms, 3),
                    "blocks_low_ms": round(estimate.ci_low_ms, 3),
                    "blocks_high_ms": round(estimate.ci_high_ms, 3),
                    "blocks_verdict": estimate.verdict,
                    "error": round(error, 4),
                }
            )
            say(f"{name} {work.name}: whole {whole.latency_ms:.2f} ms, blocks {error:+.1%}")
    errors = np.abs([r["error"] for r in rows])
    say(f"median |error| {np.median(errors):.1%}, 95th percentile {np.quantile(errors, 0.95):.1%}")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
