"""Child processes of ours: modules that take jobs and answer, a line of JSON each.

The parent sends a job; the child sends progress as often as it likes, then one answer or one
error. Lines that are none of these are what libraries print, and are passed over.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self, TextIO

from phonelm_search.core.errors import ChildError, MeasurementError
from phonelm_search.core.shortage import shortage_text, tells_shortage

_SIGKILL = 9  # signal.SIGKILL, which is not on Windows
_SENT = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")  # that no program raises by its own fault
_WHY = {"memory": "; most likely memory ran out", "stopped": ", which another program sent"}
_LOOK_SECONDS = 0.5  # so often the process itself is looked at: others may hold its pipes open
_GRACE_SECONDS = 10.0  # for its last breath
_LAST_LINES = 50

Report = Callable[[Mapping[str, Any]], object]


def ended_by_others(returncode: int) -> Literal["memory", "stopped"] | None:
    """The stage of a child that did not end by itself: killed, as where memory ran out, or told to.

    Args:
        returncode: Its own, or as a shell tells it.
    """
    name = _signal_name(returncode)
    if name == "SIGKILL":
        return "memory"
    return "stopped" if name in _SENT else None


def _signal_name(returncode: int) -> str | None:
    """The signal that ended a process; None for one that exited."""
    number = -returncode if returncode < 0 else returncode - 128  # as a shell tells it
    return next((s.name for s in signal.Signals if s.value == number), None)


def why_it_ended(returncode: int, stderr: str) -> str:
    """A sentence on a child that ended badly: the signal, or the last line it wrote."""
    if (name := _signal_name(returncode)) is not None:
        stage = ended_by_others(returncode)
        return f"the child process was ended by {name}{_WHY[stage] if stage else ''}"
    last = (stderr.strip().splitlines() or ["it printed nothing"])[-1]
    if tells_shortage(last):
        return shortage_text(last)
    return f"the child process failed: {last}"


def ask(module: str, job: Mapping[str, Any], *, what: str, seconds: float) -> dict[str, Any]:
    """Have one job done by a module of `answer_once`, in a child process.

    Args:
        module: Its full name.
        job: Sent to it as JSON; its ``folder`` is where it works.
        what: What it does, for the message: "compiling".
        seconds: Time within which it must have answered.

    Raises:
        MeasurementError: If it fails (stage ``compile``), is killed (``memory``) or told to end
            (``stopped``), or takes too long.
    """
    try:
        with Child(module, what=what) as child:
            return child.do(job, seconds=seconds)
    except ChildError as error:
        stage = "compile" if error.stage == "ended" else error.stage
        message = str(error) if error.stage == "timeout" else f"{what}: {error}"
        raise MeasurementError(message, stage=stage) from error


class Child:
    """A process that does one job after another, as a module of `serve` or `answer_once` does.

    It is started when there is something to do, and again where it has ended. A time-out, Ctrl-C
    and `stop` end it at once, and with it what it has started.

    Args:
        module: Its full name.
        what: What it does, for the message of a time-out.
        variables: Environment variables beside those of this process.
    """

    def __init__(
        self,
        module: str,
        *,
        what: str = "the child process",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._module, self._what, self._variables = module, what, variables
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.stop()

    def do(
        self,
        job: Mapping[str, Any],
        *,
        seconds: float | None = None,
        report: Report = lambda progress: None,
    ) -> dict[str, Any]:
        """Have one job done; a child ends with the thread that first asked it.

        Args:
            job: Sent as JSON.
            seconds: Time within which the next message must come, be it progress or the answer.
            report: Called with what the child tells on its way.

        Raises:
            ChildError: If no answer came.
        """
        process = self._started()
        try:
            process.send(job)
            while "progress" in (message := process.receive(seconds, self._what)):
                report(message["progress"])
        except BaseException:
            process.kill()
            raise
        if "error" in message:
            kind = message.get("kind", "")
            raise ChildError(message["error"], stage=message["stage"], kind=kind)
        answer: dict[str, Any] = message["answer"]
        return answer

    def close(self) -> None:
        """Let the process end, as it does when there are no more jobs."""
        with self._lock:
            if self._process is not None:
                self._process.close()

    def stop(self) -> None:
        """End the process, now and for good; another thread may be waiting for its answer."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _started(self) -> "_Process":
        with self._lock:
            if self._stopped:
                raise ChildError("stopped", stage="start")
            if self._process is None or self._process.over:
                self._process = _Process([sys.executable, "-m", self._module], self._variables)
            return self._process


class _Process:
    """A running child. Its output is read beside: no pipe that is full may stop it."""

    def __init__(self, command: list[str], variables: Mapping[str, str]) -> None:
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **variables},
                process_group=0,  # compilers start others, which must end with it
            )
        except OSError as error:
            raise ChildError(
                f"the child process cannot be started: {error}", stage="start"
            ) from error
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=_LAST_LINES)
        self._printed = ""
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._readers = [
            _beside(_read_lines, self._popen.stdout, self._lines),
            _beside(_read_errors, self._popen.stderr, self._errors),
        ]
        self._writer: threading.Thread | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    def send(self, job: Mapping[str, Any]) -> None:
        """Write a job; a child that does not read it must not stop the parent."""
        assert self._popen.stdin is not None
        self._writer = _beside(_write, self._popen.stdin, json.dumps(job) + "\n")

    def receive(self, seconds: float | None, what: str) -> dict[str, Any]:
        """The next message.

        Raises:
            ChildError: If none came in time, or the process ended.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while (line := self._next_line(deadline)) is not None:
            if (message := _message(line)) is not None:
                return message
            self._printed = line.strip() or self._printed
        if deadline is not None and time.monotonic() >= deadline and not self.over:
            raise ChildError(
                f"{what} must finish within {seconds:.0f} s and did not", stage="timeout"
            )
        raise self._ending()

    def _next_line(self, deadline: float | None) -> str | None:
        """The next line of output; None where none came in time, or none will come."""
        ended = False
        while True:
            left = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=max(0.0, min(_LOOK_SECONDS, left)))
            if ended or left <= 0:
                return None
            ended = self.over  # its last words may still be on their way: one more look

    def _ending(self) -> ChildError:
        try:
            returncode = self._popen.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return ChildError("the child process closed its output and went on", stage="ended")
        for reader in self._readers:
            reader.join(_LOOK_SECONDS)
        said = "".join(self._errors)
        stage = "memory" if tells_shortage(said) else ended_by_others(returncode)
        return ChildError(
            why_it_ended(returncode, said),
            stage=stage or "ended",
            returncode=returncode,
            printed=self._printed,
        )

    def close(self) -> None:
        """Tell it that there are no more jobs, and wait for its end."""
        self._close_input()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it, and those that it has started."""
        if not self.over:
            if hasattr(os, "killpg"):
                with contextlib.suppress(OSError):
                    os.killpg(self._popen.pid, _SIGKILL)
            self._popen.kill()
        self._popen.wait()
        for thread in (*self._readers, self._writer):
            if thread is not None:
                thread.join(_LOOK_SECONDS)
        self._close_input()

    def _close_input(self) -> None:
        assert self._popen.stdin is not None
        if self._writer is None or not self._writer.is_alive():
            with contextlib.suppress(OSError):
                self._popen.stdin.close()


def _beside(act: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=act, args=arguments, daemon=True)
    thread.start()
    return thread


def _read_lines(pipe: TextIO, lines: "queue.SimpleQueue[str | None]") -> None:
    with pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _read_errors(pipe: TextIO, lines: deque[str]) -> None:
    with pipe:
        lines.extend(pipe)


def _write(pipe: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # it has ended, and the reader tells why
        pipe.write(text)
        pipe.flush()


def _message(line: str) -> dict[str, Any] | None:
    """What a line says, where it is a message."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    is_one = isinstance(found, dict) and len({"progress", "answer", "error"} & found.keys()) == 1
    return found if is_one else None
