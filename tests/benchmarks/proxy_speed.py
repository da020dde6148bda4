"""Training speed against transformers' Llama and a plain AdamW loop, in turn within one run.

python tests/benchmarks/proxy_speed.py -o results/proxy-speed.csv

Every variant runs in processes of its own, one or two at once, on one thread each, with batches of
16 × 128 tokens; the variants take turns. ``transformers`` and ``plain`` train with fused AdamW.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import say, write_table

VOCABULARY, SEQUENCE, BATCH = 512, 128, 16
SHAPES = {
    "3M": (256, 704, 4, 4, 2), "30M": (512, 1408, 10, 8, 4),
}  # fmt: skip
VARIANTS = ("ours", "ours, compiled", "torch's Muon", "plain AdamW", "transformers AdamW")


def child(size: str, variant: str, steps: int) -> None:
    """Time steps in this process and print them."""
    import torch
    import torch.nn.functional as F

    from phonelm_search.core.decoder import Decoder
    from phonelm_search.core.hf_config import to_hf_config
    from phonelm_search.core.shape import ModelShape
    from phonelm_search.train.optimiser import LearningRates, make_optimisers
    from phonelm_search.train.parametrisation import build_decoder

    torch.set_num_threads(1)
    hidden, intermediate, layers, heads, kv_heads = SHAPES[size]
    shape = ModelShape(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=hidden // heads,
        vocab_size=VOCABULARY,
    )  # fmt: skip
    model: Any
    if variant == "transformers AdamW":
        import transformers

        config = transformers.AutoConfig.for_model(**to_hf_config(shape))
        model = transformers.AutoModelForCausalLM.from_config(config)
    else:
        model = build_decoder(shape, 0) if variant.startswith("ours") else Decoder(shape)
    optimisers: list[torch.optim.Optimizer]
    if variant.startswith("ours"):
        optimisers = make_optimisers(model, LearningRates(), fused=True)
    elif variant == "torch's Muon":
        ours = make_optimisers(model, LearningRates(), fused=True)
        matrices = [p for g in ours[0].param_groups for p in g["params"]]
        optimisers = [torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0), ours[1]]
    else:
        optimisers = [torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)]
    began = time.perf_counter()
    if variant == "ours, compiled":
        for layer in model.model.layers:
            layer.compile()
    ids = torch.randint(VOCABULARY, (BATCH, SEQUENCE + 1))
    seconds = []
    for step in range(steps + 2):
        start = time.perf_counter()
        out = model(ids[:, :-1])
        logits = out.logits if variant == "transformers AdamW" else out[0]
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
        elif step == 0:
            first = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "first": first}))


def run(size: str, variant: str, processes: int, steps: int) -> tuple[float, float]:
    """Tokens per second of all processes together, and seconds of the first step."""
    command = [sys.executable, __file__, "--child", size, variant, "--steps", str(steps)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    found = [json.loads(c.communicate()[0]) for c in children]
    speed = sum(BATCH * SEQUENCE / statistics.median(f["seconds"]) for f in found)
    return speed, max(f["first"] for f in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.steps)
        return
    speeds: dict[tuple[str, str, int], list[float]] = {}
    first: dict[tuple[str, str, int], float] = {}
    for number in range(args.rounds):
        for size in SHAPES:
            steps = args.steps if size == "3M" else max(2, args.steps // 3)
            for variant in VARIANTS:
                for processes in (1, 2):
                    if variant == "torch's Muon" and (processes == 2 or number):
                        continue  # slow by an order of magnitude here: once is enough
                    key = (size, variant, processes)
                    speed, start = run(size, variant, processes, steps)
                    speeds.setdefault(key, []).append(speed)
                    first[key] = start
                    say(f"{key}: {speed:.0f} tokens/s")
    rows = []
    for (size, variant, processes), found in speeds.items():
        theirs = [
            statistics.median(speeds[size, rival, 1])
            for rival in ("transformers AdamW", "plain AdamW")
        ]
        middle = statistics.median(found)
        rows.append(
            {
                "decoder": size, "variant": variant, "processes": processes,
                "tokens_per_s": round(middle), "lowest": round(min(found)),
                "highest": round(max(found)), "against_transformers": round(middle / theirs[0], 2),
                "against_plain_adamw": round(middle / theirs[1], 2),
                "first_step_s": round(first[size, variant, processes], 1),
            }
        )  # fmt: skip
    write_table(rows, args.output)


if __name__ == "__main__":
    main()
