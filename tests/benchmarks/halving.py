"""Successive halving against training all to the end: seconds and regret.

python tests/benchmarks/halving.py --results /tmp/rank -o results/halving.csv

The same twelve shapes are trained to 2 tokens per parameter, all or halved to 4 or 2 finalists,
each in a folder of its own, so that no checkpoint is shared. Regret is told by what
``rank_quality.py`` has left in its results folder: its longest runs, two seeds.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import say, write_table
from rank_quality import HORIZONS, SEEDS, TARGET, Lines, shapes

from phonelm_search.core.precision import get_precision
from phonelm_search.quality import ScoreSettings, gather, score_shapes
from phonelm_search.store import Store
from phonelm_search.train import TrainingSettings, load_text, tokenise

HORIZON = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    found = shapes(512)
    text = load_text()
    corpus = tokenise(text, 512, args.results / "cache")
    base = TrainingSettings(
        corpus=corpus.digest, vocab_size=512, tokens=round(HORIZON * TARGET), budget=None,
        width_factor=1.0,
    )  # fmt: skip
    long = replace(base, tokens=round(max(HORIZONS) * TARGET))
    known = Store(args.results, create=False)
    ids = [s.shape_id for s in found]
    truth = gather(known.scores(shape_ids=ids, settings_id=long.settings_id))
    bits = {i: truth[i].bits_per_byte or 9.0 for i in ids}
    best = min(bits.values())
    plain = {"number_type": "fp32", "compiled": False, "tokens_per_s": {}, "note": None}
    check = {"factors": [1.0], "bits_per_byte": {}, "chosen": 1.0, "tokens": 0}
    rows: list[dict[str, Any]] = []
    for finalists in (len(found), 4, 2):
        folder = Path(tempfile.mkdtemp())
        store = Store(folder)
        settings = ScoreSettings(
            tokens_per_parameter=HORIZON, budget=None, seeds=1, finalists=finalists,
            settled={"acceleration": plain, "learning_rate": check},
        )  # fmt: skip
        began = time.perf_counter()
        result = score_shapes(
            store, "halving", found, settings, tokenise(text, 512, folder / "cache"),
            scheme=get_precision("int4-b32"), report=Lines(),
        )  # fmt: skip
        wall = time.perf_counter() - began
        left = {i: s.bits_per_byte for i, s in result.scores.items() if s.bits_per_byte is not None}
        picked = min(left, key=lambda i: left[i])
        rows.append(
            {
                "way": "all to the end" if finalists == len(found) else "halving",
                "finalists": finalists,
                "tokens": sum(s.first.tokens for s in result.scores.values()),
                "training_seconds": round(sum(s.first.seconds for s in result.scores.values())),
                "wall_seconds": round(wall),
                "regret_bits_per_byte": round(bits[picked] - best, 4),
                "best_is_a_finalist": min(bits, key=lambda i: bits[i]) in left,
            }
        )  # fmt: skip
        say(str(rows[-1]))
    say(f"truth: mean of seeds {SEEDS} after {max(HORIZONS)} tokens per parameter")
    write_table(rows, args.output)


if __name__ == "__main__":
    main()
