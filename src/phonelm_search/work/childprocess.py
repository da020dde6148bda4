"""Child processes of ours: what they do first, and those that do one job and answer."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import MeasurementError, first_line

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of a killed child, by itself and through a shell: most likely memory ran out."""
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make this process end when its parent does, and be the first to go when memory runs out.

    A killed search must not leave children behind that disturb the next measurement. Linux only;
    elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def why_it_ended(returncode: int, stderr: str) -> str:
    """A sentence on a child that ended badly: the signal, or the last line it wrote."""
    number = -returncode if returncode < 0 else returncode - 128  # as a shell tells it
    if number in {s.value for s in signal.Signals}:
        name = signal.Signals(number).name
        why = "; most likely memory ran out" if name == "SIGKILL" else ""
        return f"the child process was ended by {name}{why}"
    last = (stderr.strip().splitlines() or ["it printed nothing"])[-1]
    return f"the child process failed: {last}"


def ask(module: str, job: Mapping[str, Any], *, what: str, seconds: float) -> dict[str, Any]:
    """Run a module of `answer_once` as a child process.

    Args:
        module: Its full name.
        job: Sent to it as JSON; its ``folder`` is where it works.
        what: What it does, for the message: "compiling".
        seconds: Time within which it must have answered.

    Raises:
        MeasurementError: If it fails (stage ``compile``), is killed (``memory``) or takes too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(job), capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"{what} must finish within {seconds:.0f} s and did not", stage="timeout"
        ) from error
    try:
        answer: dict[str, Any] = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except ValueError as error:
        why = why_it_ended(done.returncode, done.stderr)
        stage = "memory" if done.returncode in KILLED else "compile"
        raise MeasurementError(f"{what}: {why}", stage=stage) from error
    if "error" in answer:
        raise MeasurementError(f"{what}: {answer['error']}", stage=answer["stage"])
    return answer


def answer_once(run: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """The whole life of a child that `ask` starts: a job on stdin, an answer on stdout.

    Args:
        run: Does the job, in its folder. What it raises becomes the answer, in one line.

    Returns:
        The exit code.
    """
    die_with_parent()
    job = json.loads(sys.stdin.read())
    os.chdir(job["folder"])
    try:
        answer = run(job)
    except MeasurementError as error:
        answer = {"error": error.message, "stage": error.stage}
    except MemoryError:
        answer = {"error": "memory ran out", "stage": "memory"}
    except Exception as error:  # noqa: BLE001 - compilers and quantisers fail in ways of their own
        full = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        stage = "storage" if full else "compile"
        answer = {"error": first_line(error), "stage": stage}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0
