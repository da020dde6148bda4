"""Tasks that tests have places do."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import MeasurementError, UnsupportedShapeError

Document = dict[str, Any]
Files = Mapping[str, Path]
Report = Callable[[Mapping[str, Any]], object]


def echo(document: Document, files: Files, report: Report) -> Document:
    for number in range(document.get("steps", 0)):
        report({"step": number})
    return {"told": document, "process": os.getpid()}


def refuse(document: Document, files: Files, report: Report) -> Document:
    if document["kind"] == "shape":
        raise UnsupportedShapeError("too wide")
    raise MeasurementError("it is broken", stage="load")


def fail(document: Document, files: Files, report: Report) -> Document:
    raise ZeroDivisionError("nobody expected this")


def die(document: Document, files: Files, report: Report) -> Document:
    """Killed as often as the document says, counted in a file; then it answers."""
    counter = Path(document["counter"])
    before = len(counter.read_text()) if counter.exists() else 0
    if before < document["times"]:
        counter.write_text("x" * (before + 1))
        os.kill(os.getpid(), 9)
    return {"number": document["number"]}


def work_in_folder(document: Document, files: Files, report: Report) -> Document:
    """Reads a file; replaces what its folder holds by one file more."""
    folder = files["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    before = sorted(p.name for p in folder.iterdir() if p.is_file())
    for name in before:
        (folder / name).unlink()
    (folder / f"{len(before) + 1}.bin").write_bytes(bytes(range(256)) * 10)
    return {
        "before": before, "text": files["text"].read_text(), "name": files["text"].name,
        "path": str(files["text"]),
    }  # fmt: skip


def sleep(document: Document, files: Files, report: Report) -> Document:
    Path(document["begun"]).touch()
    time.sleep(60)
    return {}


def wait(document: Document, files: Files, report: Report) -> Document:
    time.sleep(document["seconds"])
    return {}
