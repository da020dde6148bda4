"""onnxruntime-genai's own generate loop against what we predict of TTFT and TPOT.

The model builder's graph of a shape is generated from by onnxruntime-genai, token by token. The
same graph's bare session tells what the loop itself costs; our rounds of the same shape predict
both. All three take turns, a process each. The prediction is what `profile` prints, with weights
from memory; beside it stands the control on one copy, which a cache may hold in part, as it may
hold the loop's one model.

    pip install -c constraints.txt -e '.[bench]'
    python tests/benchmarks/generate_loop.py -o results/generate-loop.csv
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import say, write_table
from graph_vs_genai import SHAPES, build_theirs, shape_of, time_model

PROMPT, GENERATED = 64, 449
CONTEXT = PROMPT + GENERATED // 2  # the midpoint, as of a scenario's answer


def loop(folder: Path) -> dict[str, float]:
    """Milliseconds to the first token, and between tokens around the middle, in this process."""
    import numpy as np
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    ids = np.random.default_rng(0).integers(3, 40000, PROMPT).astype(np.int32)

    def run(tokens: int) -> tuple[float, list[float]]:
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=PROMPT + tokens, min_length=PROMPT + tokens)
        generator = og.Generator(model, parameters)
        begin = time.perf_counter()
        generator.append_tokens(ids)
        generator.generate_next_token()
        first = time.perf_counter()
        steps = []
        for _ in range(tokens - 1):
            start = time.perf_counter()
            generator.generate_next_token()
            steps.append(time.perf_counter() - start)
        return first - begin, steps

    firsts = [run(2)[0] for _ in range(12)][2:]
    _, steps = run(GENERATED)
    # Steps grow with the context, so their median is that of the middle; bursts do not move it.
    return {
        "prefill": 1000 * statistics.median(firsts),
        "decode": 1000 * statistics.median(steps),
    }


def set_threads(folder: Path, threads: int) -> None:
    """onnxruntime-genai takes half the cores unless told."""
    file = folder / "genai_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    config["search"]["do_sample"] = False
    file.write_text(json.dumps(config), encoding="utf-8")


def main() -> None:
    """Take turns, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--session", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        print(json.dumps(loop(options.loop)))
        return
    if options.session:
        print(json.dumps(time_model(options.session, options.threads, CONTEXT)))
        return
    from phonelm_search.backends import get_runtime
    from phonelm_search.core.workload import decode, prefill
    from phonelm_search.devices import load_device
    from phonelm_search.measure import Executor, MeasureSettings, Model

    device = load_device("host-cpu").model_copy(update={"threads": options.threads})
    runtime = get_runtime(device)
    executor = Executor(device, runtime, MeasureSettings())
    work = (prefill(PROMPT), decode(CONTEXT))
    rows = []
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            theirs = build_theirs(shape_of(name), Path(folder))
            set_threads(theirs.parent, options.threads)
            found: dict[str, list[dict[str, float]]] = {"loop": [], "session": [], "ours": []}
            for _ in range(options.rounds):
                for kind, value in (("loop", theirs.parent), ("session", theirs)):
                    command = [sys.executable, __file__, f"--{kind}", str(value)]
                    command += ["--threads", str(options.threads)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    found[kind].append(json.loads(done.stdout))
                made = executor.round([Model(shape=shape_of(name))], work, with_controls=True)
                medians = {
                    (m.workload.phase, m.cache_mode): statistics.median(m.samples_ns) / 1e6
                    for m in made.models[0]
                }
                found["ours"].append(
                    {
                        "prefill": medians["prefill", "warm"],
                        "decode": medians["decode", "cold"],
                        "one copy": medians["decode", "one-copy"],
                    }
                )
                say(f"{name}: {found['loop'][-1]} {found['session'][-1]} {found['ours'][-1]}")
            for phase, title in (("prefill", "TTFT"), ("decode", "TPOT")):
                loops, sessions, ours = (
                    [f[phase] for f in found[kind]] for kind in ("loop", "session", "ours")
                )
                pairs = [a / b for a, b in zip(ours, loops, strict=True)]
                overhead = (
                    statistics.median(a / b for a, b in zip(loops, sessions, strict=True)) - 1
                )
                ratio = statistics.median(pairs)
                decoding = phase == "decode"
                warm = [f["one copy"] for f in found["ours"]]
                one_copy = [a / b for a, b in zip(warm, loops, strict=True)]
                rows.append(
                    {
                        "shape": name,
                        "quantity": title,
                        "prompt_tokens": PROMPT,
                        "context_tokens": CONTEXT if decoding else "",
                        "genai_loop_ms": round(statistics.median(loops), 3),
                        "genai_session_ms": round(statistics.median(sessions), 3),
                        "loop_overhead": round(overhead, 4),
                        "predicted_ms": round(statistics.median(ours), 3),
                        "predicted_over_loop": round(ratio, 4),
                        "lowest_pair": round(min(pairs), 4),
                        "highest_pair": round(max(pairs), 4),
                        "predicted_over_loop_without_overhead": round(ratio * (1 + overhead), 4),
                        "one_copy_ms": round(statistics.median(warm), 3) if decoding else "",
                        "one_copy_over_loop": round(statistics.median(one_copy), 4)
                        if decoding
                        else "",
                        "rounds": options.rounds,
                    }
                )
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
