"""Training candidates in parallel, one child process per core or per GPU."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from phonelm_search.childprocess import why_it_ended
from phonelm_search.proxy.settings import Outcome, TrainingSettings
from phonelm_search.shape import ModelShape


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


class TrainingPool:
    """Runs training jobs in child processes.

    Args:
        workers: Jobs at once; by default one per GPU, where there is none one per core that
            this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        gpus = torch.cuda.device_count()
        self.workers = workers or gpus or len(os.sched_getaffinity(0))
        self._gpus: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self.workers if gpus else 0):
            self._gpus.put(slot % gpus)
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

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

        def report(index: int, tokens: int, bits_per_byte: float) -> None:
            with calls:
                on_progress(index, tokens, bits_per_byte)

        with ThreadPoolExecutor(self.workers) as executor:
            futures: dict[Future[Outcome], int] = {
                executor.submit(self._run_one, job, index, report): index
                for index, job in enumerate(jobs)
            }
            pending = set(futures)
            try:
                while pending:
                    # A short wait keeps Ctrl-C quick.
                    done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        with calls:
                            on_done(futures[future], future.result())
            except BaseException:
                self._stop()
                raise

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()

    def _run_one(
        self, job: TrainingJob, index: int, report: Callable[[int, int, float], None]
    ) -> Outcome:
        if self._gpus.empty():
            return self._train(job, index, report, {})
        gpu = self._gpus.get()
        try:
            return self._train(job, index, report, {"CUDA_VISIBLE_DEVICES": str(gpu)})
        finally:
            self._gpus.put(gpu)

    def _train(
        self,
        job: TrainingJob,
        index: int,
        report: Callable[[int, int, float], None],
        variables: dict[str, str],
    ) -> Outcome:
        document = {
            "shape": job.shape.as_dict(),
            "settings": asdict(job.settings),
            "tokens_file": str(job.tokens_file.resolve()),
            "seed": job.seed,
            "until": job.until,
            "checkpoints": str(job.checkpoints.resolve()),
            "scheme": job.scheme,
            "threads": self.threads,
        }
        with self._lock:
            if self._stopped:
                return _failed("stopped")
            child = subprocess.Popen(
                [sys.executable, "-m", "phonelm_search.proxy.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **variables},
            )
            self._children.add(child)
        try:
            stdin, stdout, stderr = child.stdin, child.stdout, child.stderr
            assert stdin is not None
            assert stdout is not None
            assert stderr is not None
            stdin.write(json.dumps(document))
            stdin.close()
            # Read beside stdout: a full pipe of warnings must not stop the child.
            errors: list[str] = []
            drain = threading.Thread(target=lambda: errors.append(stderr.read()))
            drain.start()
            last: dict[str, Any] = {}
            for line in stdout:
                last = json.loads(line)
                if "tokens" in last:
                    report(index, last["tokens"], last["bits_per_byte"])
            code = child.wait()
            drain.join()
            if "outcome" not in last:
                return _failed(why_it_ended(code, "".join(errors)))
            return _outcome(last["outcome"])
        except (OSError, ValueError) as error:
            return _failed(f"the child process failed: {error}")
        finally:
            child.kill()
            child.wait()
            with self._lock:
                self._children.discard(child)


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
