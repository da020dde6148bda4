"""Training candidates in parallel, one child process per core or per GPU."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from phonelm_search.core.shape import ModelShape
from phonelm_search.train.settings import Outcome, TrainingSettings
from phonelm_search.work import why_it_ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One candidate to train, whole or up to a step."""

    shape: ModelShape
    """What is trained."""
    settings: TrainingSettings
    """How."""
    tokens_file: Path
    """The tokenised corpus."""
    seed: int
    """Seed of weights and data order."""
    checkpoints: Path
    """Folder of this training's states."""
    until: int | None = None
    """Step of the trunk to stop at; None: to the end, decay included."""
    scheme: str | None = None
    """Precision scheme to score rounded weights of, too."""
    weights: Path | None = None
    """File of the weights of a finished training; None keeps none."""


class TrainingPool:
    """Runs training jobs in child processes, which serve one job after another until it is closed.

    Args:
        workers: Jobs at once; by default one per GPU, where there is none one per core that
            this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        import torch  # here: commands that only read a study need not wait for it

        self._gpus = torch.cuda.device_count()
        self.workers = workers or self._gpus or len(os.sched_getaffinity(0))
        self._children = [_Child(self._variables(slot)) for slot in range(self.workers)]
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        # One for the pool's life: a child ends with the thread that started it.
        self._executor = ThreadPoolExecutor(self.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children."""
        for child in self._children:
            child.stop()
        self._executor.shutdown()

    @property
    def threads(self) -> int:
        """Threads of one child process."""
        return 1 if self.workers > 1 else len(os.sched_getaffinity(0))

    def run(
        self,
        jobs: Sequence[TrainingJob],
        *,
        on_progress: Callable[[int, int, float], None],
        on_done: Callable[[int, Outcome], None],
    ) -> None:
        """Train all jobs; both callbacks run in the calling thread or a worker's, one at a time.

        Args:
            jobs: What to train.
            on_progress: Called with (index of the job, tokens so far, training bits per byte).
            on_done: Called with (index of the job, outcome) as soon as it is finished.
        """
        calls = threading.Lock()

        def train(index: int, job: TrainingJob) -> Outcome:
            def report(tokens: int, bits_per_byte: float) -> None:
                with calls:
                    on_progress(index, tokens, bits_per_byte)

            child = self._idle.get()
            try:
                return child.train(_document(job, self.threads), report)
            finally:
                self._idle.put(child)

        futures = {self._executor.submit(train, i, job): i for i, job in enumerate(jobs)}
        pending: set[Future[Outcome]] = set(futures)
        try:
            while pending:
                # A short wait keeps Ctrl-C quick.
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    with calls:
                        on_done(futures[future], future.result())
        except BaseException:
            self.close()
            raise

    def _variables(self, slot: int) -> dict[str, str]:
        """Environment of a child: which GPU it sees."""
        return {"CUDA_VISIBLE_DEVICES": str(slot % self._gpus)} if self._gpus else {}


class _Child:
    """A process that trains, started when there is something to do and again after a crash."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._process: subprocess.Popen[str] | None = None
        self._errors: deque[str] = deque(maxlen=50)
        self._lock = threading.Lock()
        self._stopped = False

    def train(self, document: dict[str, Any], report: Callable[[int, float], None]) -> Outcome:
        """Have one job done; a crash is an outcome that may be tried again."""
        process = self._started()
        if process is None:
            return _failed("stopped")
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(document) + "\n")
            stdin.flush()
            for line in stdout:
                message = json.loads(line)
                if "outcome" in message:
                    return _outcome(message["outcome"])
                if "error" in message:
                    return _failed(message["error"])
                report(message["tokens"], message["bits_per_byte"])
        except (OSError, ValueError) as error:
            process.kill()
            self._errors.append(f"{error}")
        code = process.wait()
        self._drain.join()
        return _failed(why_it_ended(code, "\n".join(self._errors)))

    def stop(self) -> None:
        """End the process, now and for good."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def _started(self) -> "subprocess.Popen[str] | None":
        with self._lock:
            if self._stopped:
                return None
            if self._process is None or self._process.poll() is not None:
                self._errors.clear()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "phonelm_search.train.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **self._variables},
                )
                stderr = self._process.stderr
                assert stderr is not None
                # Read beside stdout: a full pipe of warnings must not stop the child.
                self._drain = threading.Thread(
                    target=self._errors.extend, args=(map(str.rstrip, stderr),), daemon=True
                )
                self._drain.start()
            return self._process


def _document(job: TrainingJob, threads: int) -> dict[str, Any]:
    return {
        "shape": job.shape.as_dict(),
        "settings": asdict(job.settings),
        "tokens_file": str(job.tokens_file.resolve()),
        "seed": job.seed,
        "until": job.until,
        "checkpoints": str(job.checkpoints.resolve()),
        "scheme": job.scheme,
        "weights": str(job.weights.resolve()) if job.weights else None,
        "threads": threads,
    }


def _outcome(document: dict[str, Any]) -> Outcome:
    return Outcome(
        **{
            **document,
            "chunk_bits": tuple(document["chunk_bits"]),
            "chunk_bytes": tuple(document["chunk_bytes"]),
            "curve": tuple((int(n), float(b)) for n, b in document["curve"]),
            "notes": tuple(document["notes"]),
        }
    )


def _failed(reason: str) -> Outcome:
    return Outcome(
        finished=False,
        chunk_bits=(),
        chunk_bytes=(),
        quantised=None,
        curve=(),
        tokens=0,
        seconds=0.0,
        reason=reason,
        transient=True,
    )
