"""Tasks: functions by name, that a process here or on another machine calls.

As a module it is the child process that does one task after another.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from phonelm_search.work.childprocess import Report
from phonelm_search.work.serving import serve

Function = Callable[[dict[str, Any], Mapping[str, Path], Report], Mapping[str, Any]]
"""Takes a JSON document, files by name, and what it tells its progress; answers a JSON document."""


def perform(
    task: str, document: dict[str, Any], files: Mapping[str, Path], report: Report
) -> dict[str, Any]:
    """Call a task.

    Args:
        task: Module and function, ``phonelm_search.train.worker:train_job``.
        document: What it takes.
        files: Files and folders that it reads and writes, by the name that it knows them by.
        report: Called with what it tells on its way.
    """
    module, _, name = task.partition(":")
    function = cast(Function, getattr(import_module(module), name))
    return dict(function(document, files, report))


def _run(request: dict[str, Any], report: Report) -> dict[str, Any]:
    files = {name: Path(path) for name, path in request["files"].items()}
    return perform(request["task"], request["document"], files, report)


if __name__ == "__main__":
    sys.exit(serve(_run))
