"""Blocks against whole models: does a block estimate tell what the whole model measures?

Nine shapes of 100M to 1.5B parameters and 4 to 40 layers. A shape's whole model and its truncated
ones step in turn in the same processes, so that what disturbs one disturbs all and the difference
is the method's.

    python tests/benchmarks/blocks_vs_whole.py -o results/blocks-vs-whole.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import say, shape, write_table

from phonelm_search.core.workload import decode, prefill
from phonelm_search.devices import load_device
from phonelm_search.measure import Profiler, Request
from phonelm_search.speed import BlockEstimator, device_costs
from phonelm_search.speed.block import layer_of
from phonelm_search.store import Store

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


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--results", type=Path, help="keep the database here")
    parser.add_argument("--only", nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    store = Store(options.results or Path(tempfile.mkdtemp()))
    profiler = Profiler(store, load_device("host-cpu"))
    estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
    wanted = [SHAPES[name] for name in options.only]
    plans = {p.block.layer: p for p in estimator.plan(wanted, WORK)}
    outcomes = []
    for name, model in zip(options.only, wanted, strict=True):
        company = (model, *plans[layer_of(model)].shapes)
        outcomes.append(profiler.measure([Request(shape=s, workloads=WORK) for s in company])[0])
        say(f"{name}: {outcomes[-1].error or 'measured'}")
    found = estimator.estimate(wanted, WORK, list(plans.values()))
    rows = []
    for name, model, outcome, estimated in zip(options.only, wanted, outcomes, found, strict=True):
        for work in WORK:
            whole, estimate = outcome.latencies[work], estimated.latencies[work]
            error = estimate.latency_ms / whole.latency_ms - 1
            rows.append(
                {
                    "shape": name,
                    "shape_id": model.shape_id,
                    "layers": model.num_hidden_layers,
                    "depths": " ".join(map(str, plans[layer_of(model)].depths)),
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
