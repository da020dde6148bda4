"""The child process that trains one candidate: a job on stdin, progress and outcome on stdout."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from phonelm_search.childprocess import die_with_parent
from phonelm_search.precision import get_precision
from phonelm_search.proxy.corpus import load_tokens
from phonelm_search.proxy.settings import TrainingSettings
from phonelm_search.proxy.training import train
from phonelm_search.shape import ModelShape


def main() -> int:
    """Train one candidate; each line of stdout is a JSON object, the last one the outcome."""
    die_with_parent()
    job = json.loads(sys.stdin.read())
    torch.set_num_threads(job["threads"])

    def progress(tokens: int, bits_per_byte: float) -> None:
        print(json.dumps({"tokens": tokens, "bits_per_byte": bits_per_byte}), flush=True)

    outcome, _ = train(
        ModelShape(**job["shape"]),
        load_tokens(Path(job["tokens_file"])),
        TrainingSettings(**job["settings"]),
        seed=job["seed"],
        until=job["until"],
        checkpoints=Path(job["checkpoints"]),
        scheme=get_precision(job["scheme"]) if job["scheme"] else None,
        report=progress,
    )
    print(json.dumps({"outcome": asdict(outcome)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
