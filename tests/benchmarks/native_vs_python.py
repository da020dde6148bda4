"""The C++ runner against the in-process runtime on this machine, the same jobs in turn.

python tests/benchmarks/native_vs_python.py [--rounds 6]   writes results/native-vs-python.csv
"""

import argparse
import csv
from pathlib import Path
from statistics import median

import numpy as np

from phonelm_search.backends import get_runtime
from phonelm_search.core.workload import decode, prefill
from phonelm_search.devices import load_device
from phonelm_search.measure import Executor, MeasureSettings, Model
from phonelm_search.stages.profile import known_shapes

SHAPES = ("smollm2-135m", "phonelm-0.5b")
WORK = (prefill(128), decode(512))
RESULT = Path(__file__).parents[2] / "results/native-vs-python.csv"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    executors = {
        name: Executor(load_device(name), get_runtime(load_device(name)), MeasureSettings())
        for name in ("host-cpu", "host-native")
    }
    rows = []
    for name in SHAPES:
        shown, shape = known_shapes()[name]
        ms: dict[tuple[str, str], list[float]] = {}
        for i in range(options.rounds):
            order = list(executors.items())
            for device, executor in order if i % 2 == 0 else reversed(order):
                made = executor.round([Model(shape=shape, number=i)], WORK)
                for m in made.models[0]:
                    value = float(np.median(m.samples_ns)) / 1e6
                    ms.setdefault((device, m.workload.name), []).append(value)
        for work in WORK:
            python, native = (ms[d, work.name] for d in executors)
            ratios = sorted(b / a for a, b in zip(python, native, strict=True))
            rows.append(
                {
                    "shape": shown,
                    "test": work.name,
                    "rounds": options.rounds,
                    "python_ms": round(median(python), 3),
                    "native_ms": round(median(native), 3),
                    "ratio_of_pairs": round(median(ratios), 3),
                    "least": round(ratios[0], 3),
                    "largest": round(ratios[-1], 3),
                }
            )
            print(rows[-1], flush=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
