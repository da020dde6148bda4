"""Warm against cold decode over twenty shapes of equal size: would they pick the same front?

python tests/benchmarks/warm_vs_cold.py -o results/warm-vs-cold.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import say, write_table

from phonelm_search.core.pareto import non_dominated
from phonelm_search.core.precision import get_precision
from phonelm_search.core.workload import decode
from phonelm_search.devices import load_device
from phonelm_search.measure import Profiler, Request
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store

CONTEXT = 320


def ranks(values: list[float]) -> np.ndarray:
    """Rank of each value from 0."""
    return np.argsort(np.argsort(values))


def main() -> None:
    """Measure both ways in turn, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--shapes", type=int, default=20)
    options = parser.parse_args()
    feasible = enumerate_space(load_space("slm-100m"), get_precision("int4-b32"))
    chosen = np.linspace(0, len(feasible) - 1, options.shapes).round().astype(int)
    shapes = [feasible.shape(int(row)) for row in chosen]
    store = Store(Path(tempfile.mkdtemp()))
    device = load_device("host-cpu")
    profilers = {
        mode: Profiler(store, device.model_copy(update={"cache": mode}))
        for mode in ("warm", "cold")
    }
    work = decode(CONTEXT)
    found: dict[str, list[float]] = {"warm": [], "cold": []}
    verdicts: dict[str, list[str]] = {"warm": [], "cold": []}
    for start in range(0, len(shapes), 4):  # in turn, four shapes at a time
        for mode, profiler in profilers.items():
            part = shapes[start : start + 4]
            outcomes = profiler.measure([Request(shape=s, workloads=(work,)) for s in part])
            found[mode] += [o.latencies[work].latency_ms for o in outcomes]
            verdicts[mode] += [o.latencies[work].verdict for o in outcomes]
        say(f"{start + len(part)} of {len(shapes)}")
    fronts = {
        mode: non_dominated(
            [[ms, -s.decoder_parameters] for ms, s in zip(ms_list, shapes, strict=True)]
        )
        for mode, ms_list in found.items()
    }
    rows = [
        {
            "shape_id": s.shape_id,
            "decoder_parameters": s.decoder_parameters,
            "streamed_bytes": s.weight_bytes(device.scheme).streamed,
            "warm_ms": round(found["warm"][i], 3),
            "warm_verdict": verdicts["warm"][i],
            "cold_ms": round(found["cold"][i], 3),
            "cold_verdict": verdicts["cold"][i],
            "ratio": round(found["cold"][i] / found["warm"][i], 3),
            "warm_front": bool(fronts["warm"][i]),
            "cold_front": bool(fronts["cold"][i]),
        }
        for i, s in enumerate(shapes)
    ]
    correlation = np.corrcoef(ranks(found["warm"]), ranks(found["cold"]))[0, 1]
    same = int((fronts["warm"] == fronts["cold"]).sum())
    say(f"Spearman {correlation:.3f}; front membership agrees for {same} of {len(shapes)}")
    for mode, values in found.items():
        say(f"{mode}: slowest / fastest {max(values) / min(values):.2f}")
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
