"""The child process that quantises: a job on stdin, files in its folder, an answer on stdout."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from phonelm_search.backends.qnn.calibration import quantised
from phonelm_search.backends.qnn.quantising import EXPECTED, TEST, TOKENS
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.graph import save_feeds
from phonelm_search.work import answer_once


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Quantise; files are relative to the working folder."""
    made = quantised(
        ModelShape(**job["shape"]), Workload(**job["workload"]), job["precision"],
        load_file(TOKENS)["tokens"], Path(),
    )  # fmt: skip
    save_feeds(Path(TEST), made.test)
    save_feeds(Path(EXPECTED), made.expected)
    borders = {name: asdict(border) for name, border in made.quantised.borders.items()}
    return {"path": str(made.quantised.path), "borders": borders}


if __name__ == "__main__":
    # ONNX Runtime's tools load torch where it can be found, for seconds, and nothing here needs it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    sys.exit(answer_once(run))
