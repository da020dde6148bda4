"""A search from Python, as in a notebook: frames, figures, a report.

python tests/examples/notebook.py FOLDER
"""

import logging
import sys
from pathlib import Path

from phonelm_search import api

logging.basicConfig(level="INFO", format="%(message)s")
folder = Path(sys.argv[1])
results = folder / "results"

# Four shapes of the tiny space, prefill and decode measured on this machine.
shapes = api.search("tiny", trials=4, results=results)
print(shapes[["shape_id", "prefill_ms", "decode_ms", "verdict"]].to_string(index=False))

# Relatives of the front and near-front, trained for a moment; minutes tell something.
scored = api.score(
    "tiny.host-cpu", score_top=2, tokens_per_parameter=0.02, minutes=0.05, results=results
)
print(scored[["shape_id", "latency_ms", "relative_loss", "pick"]].to_string(index=False))

front = api.pareto("tiny.host-cpu", results=results)
print(f"the front has {len(front)} shapes, the fastest takes {front['latency_ms'].min():.0f} ms")

api.plot("tiny.host-cpu", "spread", results=results).savefig(folder / "spread.png")
print(api.report("tiny.host-cpu", folder / "report.html", results=results))

known = api.profile("tiny-llama", prompt_tokens=[32], context_tokens=[64], results=results)
print(known[["name", "phase", "latency_ms", "tokens_per_s", "verdict"]].to_string(index=False))
