"""Our graph against the one that onnxruntime-genai's model builder writes.

For each shape, both graphs are built (int4, block 32, accuracy level 4, last logits) with random
weights of their own, and ONNX Runtime optimises both. Then the operators, their numbers and their
attributes are compared, and latencies are taken process by process in turn, so that a burst of
another program hits both alike.

    pip install -c constraints.txt -e '.[bench]'
    python tests/benchmarks/graph_vs_genai.py --rounds 7 -o results/graph-vs-genai.csv
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from phonelm_search.core.hf_config import to_hf_config
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import WeightPool, build_graph, save_graph

SHAPES = {
    "100M": (768, 2048, 10, 12),
    "0.5B": (1024, 4864, 24, 16),
}
PREFILL, CONTEXT = 64, 512


def shape_of(name: str) -> ModelShape:
    """The benchmark's shape of that name."""
    hidden, intermediate, layers, heads = SHAPES[name]
    return ModelShape(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        vocab_size=49152,
        hidden_act="relu",
    )


def build_theirs(shape: ModelShape, folder: Path) -> Path:
    """Run the model builder on random weights; it wants a tokenizer beside them."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    config = transformers.AutoConfig.for_model(
        **{**to_hf_config(shape), "bos_token_id": 1, "eos_token_id": 2}
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "hf")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    tokenizer.train_from_iterator(
        ["text"], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=special)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder / "hf")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", "random"]
    command += ["-i", str(folder / "hf"), "-o", str(folder / "genai"), "-p", "int4", "-e", "cpu"]
    command += ["-c", str(folder / "cache"), "--extra_options", "prune_lm_head=true"]
    command += ["int4_accuracy_level=4", "int4_block_size=32"]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return folder / "genai" / "model.onnx"


def build_ours(shape: ModelShape, folder: Path) -> Path:
    """Write our graph with generated weights."""
    graph = build_graph(shape, get_precision("int4-b32"))
    return save_graph(folder / "ours", graph.model, graph.tensors, WeightPool(1))


def optimised_operators(model: Path) -> Counter[str]:
    """Operators of the graph after ONNX Runtime's optimisation, with all attributes."""
    options = ort.SessionOptions()
    optimised = model.with_name("optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", "optimised.data"
    )
    options.log_severity_level = 3
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    found: Counter[str] = Counter()
    for node in onnx.load(optimised, load_external_data=False).graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        shown = {
            k: round(v, 9) if isinstance(v, float) else str(v)
            for k, v in sorted(attributes.items())
        }
        found[f"{node.domain or 'ai.onnx'}.{node.op_type} {shown}"] += 1
    return found


def time_model(model: str, threads: int, context: int = CONTEXT) -> dict[str, float]:
    """Median milliseconds of prefill and decode of one model file, in this process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    found = {}
    for name, new, past, runs in (("prefill", PREFILL, 0, 25), ("decode", 1, context, 150)):
        binding = session.io_binding()
        kept: list[Any] = [rng.integers(0, 49152, (1, new)), np.ones((1, new + past), np.int64)]
        kept = [ort.OrtValue.ortvalue_from_numpy(a) for a in kept]
        for key, value in zip(("input_ids", "attention_mask"), kept, strict=True):
            binding.bind_ortvalue_input(key, value)
        for declared in session.get_inputs()[2:]:
            dims = (1, declared.shape[1], new + past, 64)
            array = rng.normal(size=dims).astype(np.float32)
            value = ort.OrtValue.ortvalue_from_numpy(array)
            kept += [array, value]
            binding.bind_ortvalue_input(declared.name, value)
            present = declared.name.replace("past_key_values", "present")
            binding.bind_ortvalue_output(present, value)
        binding.bind_output("logits")
        samples = []
        for _ in range(runs):
            begin = time.perf_counter_ns()
            session.run_with_iobinding(binding)
            samples.append((time.perf_counter_ns() - begin) / 1e6)
        found[name] = statistics.median(samples[runs // 5 :])
    return found


def main() -> int:
    """Compare and print; exit 1 when operators differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--time", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time:
        print(json.dumps(time_model(options.time, options.threads)))
        return 0
    rows, same = [], True
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            shape = shape_of(name)
            ours = build_ours(shape, Path(folder))
            theirs = build_theirs(shape, Path(folder))
            operators = [optimised_operators(m) for m in (ours, theirs)]
            for only, mark in (
                (operators[0] - operators[1], "ours"),
                (operators[1] - operators[0], "genai"),
            ):
                for operator, count in only.items():
                    print(f"{name}: only {mark}: {count} × {operator}")
            same &= operators[0] == operators[1]
            print(f"{name}: {sum(operators[0].values())} operators of {len(operators[0])} kinds")
            times: dict[str, list[dict[str, float]]] = {"ours": [], "genai": []}
            for turn in range(options.rounds):
                order = [("ours", ours), ("genai", theirs)]
                for mark, model in order if turn % 2 == 0 else order[::-1]:
                    command = [sys.executable, __file__, "--time", str(model)]
                    command += ["--threads", str(options.threads)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    times[mark].append(json.loads(done.stdout))
            for phase, work in (("prefill", f"pp{PREFILL}"), ("decode", f"tg @ d{CONTEXT}")):
                pairs = list(zip(times["ours"], times["genai"], strict=True))
                ratios = [a[phase] / b[phase] for a, b in pairs]
                rows.append(
                    {
                        "shape": name,
                        "test": work,
                        "operators": sum(operators[0].values()),
                        "same_operators": operators[0] == operators[1],
                        "ours_ms": round(statistics.median(a[phase] for a, _ in pairs), 3),
                        "genai_ms": round(statistics.median(b[phase] for _, b in pairs), 3),
                        "ratio_median": round(statistics.median(ratios), 3),
                        "ratio_min": round(min(ratios), 3),
                        "ratio_max": round(max(ratios), 3),
                        "rounds": options.rounds,
                    }
                )
                print(rows[-1], flush=True)
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
