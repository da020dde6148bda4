"""The child process that trains: a job a line on stdin; progress and outcomes on stdout."""

import functools
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.checkpoint import save_weights
from phonelm_search.train.corpus import TokenisedCorpus, load_tokens
from phonelm_search.train.settings import Outcome, TrainingSettings
from phonelm_search.train.training import train
from phonelm_search.work import die_with_parent


def main() -> int:
    """Train until there are no more jobs; every line of stdout is a JSON object."""
    die_with_parent()
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"outcome": asdict(_run(json.loads(line)))}
        except TrainingError as error:  # a full disk, memory for less than one sequence
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


def _run(job: dict[str, Any]) -> Outcome:
    torch.set_num_threads(job["threads"])

    def progress(tokens: int, bits_per_byte: float) -> None:
        print(json.dumps({"tokens": tokens, "bits_per_byte": bits_per_byte}), flush=True)

    outcome, model = train(
        ModelShape(**job["shape"]),
        _corpus(job["tokens_file"]),
        TrainingSettings(**job["settings"]),
        seed=job["seed"],
        until=job["until"],
        checkpoints=Path(job["checkpoints"]),
        scheme=get_precision(job["scheme"]) if job["scheme"] else None,
        report=progress,
    )
    if job["weights"] and outcome.finished and outcome.reason is None:
        try:
            save_weights(model, Path(job["weights"]))
        except TrainingError as error:  # the score is worth more than they are
            return replace(outcome, notes=(*outcome.notes, str(error)))
    return outcome


@functools.lru_cache(maxsize=1)
def _corpus(file: str) -> TokenisedCorpus:
    return load_tokens(Path(file))


if __name__ == "__main__":
    sys.exit(main())
