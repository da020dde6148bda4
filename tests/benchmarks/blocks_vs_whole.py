"""Blocks against whole models: does a block estimate tell what the whole model measures?

Ten shapes of 100M to 1.5B parameters and 4 to 40 layers. The truncated models of a shape and the
whole one are measured in turn within one run, so that a change of the machine hits both.

    python tests/benchmarks/blocks_vs_whole.py -o results/blocks-vs-whole.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import say, shape, write_table

from phonelm_search.devices import load_device
from phonelm_search.latency import BlockEstimator, device_costs
from phonelm_search.measure import Profiler, Request
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


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--results", type=Path, help="keep the database here")
    parser.add_argument("--only", nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    results = options.results or Path(tempfile.mkdtemp())
    store = Store(results)
    profiler = Profiler(store, load_device("host-cpu"))
    rows = []
    for name in options.only:
        wanted = SHAPES[name]
        estimator = BlockEstimator(store, profiler, device_costs(store, profiler), whole=False)
        plans = estimator.plan([wanted], WORK)
        depths = plans[0].depths
        say(f"{name}: depths {depths} and {wanted.num_hidden_layers}")
        models = [*plans[0].shapes, wanted]
        outcomes = profiler.measure([Request(shape=s, workloads=WORK) for s in models])
        (found,) = estimator.estimate([wanted], WORK, plans)
        for work in WORK:
            whole, estimate = outcomes[-1].latencies[work], found.latencies[work]
            error = estimate.latency_ms / whole.latency_ms - 1
            rows.append(
                {
                    "shape": name,
                    "shape_id": wanted.shape_id,
                    "layers": wanted.num_hidden_layers,
                    "depths": " ".join(map(str, depths)),
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
            say(f"  {work.name}: whole {whole.latency_ms:.2f} ms, blocks {error:+.1%}")
    errors = np.abs([r["error"] for r in rows])
    say(f"median |error| {np.median(errors):.1%}, 95th percentile {np.quantile(errors, 0.95):.1%}")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
