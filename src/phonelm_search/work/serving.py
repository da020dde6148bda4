"""The child's side of `childprocess`: what it does first, and how it takes jobs and answers."""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import MeasurementError, PhonelmSearchError, first_line
from phonelm_search.core.shortage import memory_shortage
from phonelm_search.work.childprocess import Report

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


def die_with_parent() -> None:
    """Make this process end when its parent does, and be the first to go when memory runs out.

    A killed search must not leave children behind that disturb the next measurement. Linux only;
    elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: on Windows
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _belong_to_parent() -> None:
    """Leave it to the parent to be stopped: a batch system tells all processes of a job at once."""
    die_with_parent()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)


def serve(run: Callable[[dict[str, Any], Report], Mapping[str, Any]]) -> int:
    """The whole life of a child that does one job after another, until there are no more.

    Args:
        run: Does a job; it may report on its way. An error of this package becomes the answer.
            Any other ends the process, which may be spoilt, and the parent starts another one.

    Returns:
        The exit code.
    """
    _belong_to_parent()
    for line in sys.stdin:
        job = json.loads(line)
        _say(answered(partial(run, job, _report)))
    return 0


def answered(act: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What a call gives, as the last message on a job; errors of this package become answers."""
    try:
        return {"answer": act()}
    except PhonelmSearchError as error:
        return {**_refusal(error), "kind": type(error).__name__}
    except MemoryError as error:
        return {"error": memory_shortage(error), "stage": "memory"}


def answer_once(run: Callable[[dict[str, Any]], Mapping[str, Any]]) -> int:
    """The whole life of a child that does one job, in the folder that the job names.

    Args:
        run: Does the job. What it raises becomes the answer, in one line.

    Returns:
        The exit code.
    """
    _belong_to_parent()
    job = json.loads(sys.stdin.readline())
    os.chdir(job["folder"])
    try:
        answer: dict[str, Any] = {"answer": run(job)}
    except MeasurementError as error:
        answer = _refusal(error)
    except MemoryError as error:
        answer = {"error": memory_shortage(error), "stage": "memory"}
    except Exception as error:  # noqa: BLE001 - compilers and quantisers fail in ways of their own
        full = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        answer = {"error": first_line(error), "stage": "storage" if full else "compile"}
    _say(answer)
    return 1 if "error" in answer else 0


def _refusal(error: PhonelmSearchError) -> dict[str, Any]:
    if isinstance(error, MeasurementError):
        return {"error": error.message, "stage": error.stage}
    return {"error": str(error), "stage": "run"}


def _report(progress: Mapping[str, Any]) -> None:
    _say({"progress": progress})


def _say(message: Mapping[str, Any]) -> None:
    # What a library has printed last may have no end of line.
    sys.stdout.write(f"\n{json.dumps(message)}\n")
    sys.stdout.flush()
