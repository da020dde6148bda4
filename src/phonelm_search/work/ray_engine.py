"""Ray as the engine: tasks on whatever nodes announce the devices, and train.

Requests and answers are JSON, files are bytes: nothing is pickled but strings, bytes and the name
of one function.
"""

import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import Any

from phonelm_search import __version__
from phonelm_search.core.errors import ChildError, EngineError, TransportError, first_line
from phonelm_search.work.carrying import Artifacts, Parcel, Sender, replace_content, visible
from phonelm_search.work.childprocess import Report
from phonelm_search.work.engine import Files
from phonelm_search.work.offers import (
    GPU_TRAININGS,
    TRAININGS,
    Node,
    device_offers,
    gpu_share,
    in_words,
    offered,
)
from phonelm_search.work.ray_library import ray_library
from phonelm_search.work.ray_task import perform_there

_LOOK_SECONDS = 2.0  # Ray itself hears Ctrl-C meanwhile
_NODES_SECONDS = 1.0  # the list of nodes is asked for so often
_HEAD_SECONDS = 30.0  # a head that was not heard for so long is gone
_NO_FILES: Files = MappingProxyType({})


class RayEngine:
    """See `engine.Engine`; made by `ray_connection.open_ray`.

    Args:
        head: What messages call the head.
        artifacts: A shared folder that files go by.
        serials: Phones to measure on; none: all that are announced.
        patience_seconds: How long a task waits for a node that went away.
    """

    def __init__(
        self,
        head: str,
        *,
        artifacts: Artifacts | None,
        serials: Sequence[str],
        patience_seconds: float,
    ) -> None:
        self._head = head
        self.ray = ray_library()
        self.function = _function()
        self.artifacts, self.patience_seconds = artifacts, patience_seconds
        self.session = secrets.token_hex(4)
        self.sender = Sender(self.ray.put, artifacts)
        self._serials = tuple(serials)
        self._nodes, self._heard = self._listed(), time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _listed(self) -> list[Node]:
        """Nodes that live, as the head tells; while it is gone, Ray waits for it."""
        return [
            Node(name=n["NodeManagerHostname"], resources=dict(n["Resources"]))
            for n in self.ray.nodes()
            if n["Alive"]
        ]

    def _watch(self) -> None:
        """Hear the head again and again, in a thread of its own: who asks here never waits."""
        while not self._closed.wait(_NODES_SECONDS):
            with suppress(Exception):  # its silence is what counts
                self._nodes, self._heard = self._listed(), time.monotonic()

    def close(self) -> None:
        """Listen to the head no longer."""
        self._closed.set()

    @property
    def lost(self) -> bool:
        """Whether the head is gone."""
        return time.monotonic() - self._heard > _HEAD_SECONDS

    def gone(self) -> EngineError:
        """What is said where the head, or this machine's own node, is gone."""
        return EngineError(
            f"Ray's head at {self._head} and this machine's node must stay, one of them is gone; "
            "start the nodes again, then run the same command again: what was finished is kept"
        )

    def nodes(self) -> list[Node]:
        """Nodes that live, as they were told a moment ago.

        Raises:
            EngineError: If the head is gone.
        """
        if self.lost:
            raise self.gone()
        return self._nodes

    def devices(self, profile: str, *, alone: bool) -> list["RayPlace"]:
        """See `Engine.devices`."""
        nodes = self.nodes()
        found = device_offers(nodes, profile, self._serials)
        return [
            RayPlace(self, name=resource, resources={resource: 1.0}, cpus=cpus if alone else 0.0)
            for resource, cpus in sorted(found.items())
        ]

    def trainers(self) -> list["RayPlace"]:
        """See `Engine.trainers`."""
        nodes = self.nodes()
        for resource, share in ((GPU_TRAININGS, gpu_share(nodes)), (TRAININGS, 0.0)):
            if count := int(offered(nodes, resource)):
                return [
                    RayPlace(
                        self, name=f"training {i + 1}", resources={resource: 1.0}, gpus=share,
                        cpus=0.0 if share else 1.0,
                    )
                    for i in range(count)
                ]  # fmt: skip
        raise EngineError(
            f"a node must offer {TRAININGS}, none does; nodes offer {in_words(nodes)}; start one "
            "with `phonelm-search ray-node --trainings N`"
        )


class RayPlace:
    """See `engine.Place`: a task with some resources, wherever they are.

    Args:
        engine: The connection.
        name: What messages call it.
        resources: What a task holds while it runs.
        cpus: Processors that it holds.
        gpus: GPUs, or a fraction of one.
    """

    def __init__(
        self,
        engine: RayEngine,
        *,
        name: str,
        resources: Mapping[str, float],
        cpus: float,
        gpus: float = 0.0,
    ) -> None:
        self.name = name
        self.resources = dict(resources)
        self._engine, self._ray = engine, engine.ray
        self._options = {
            "resources": self.resources, "num_cpus": cpus, "num_gpus": gpus, "max_retries": 0,
            "num_returns": "streaming",
        }  # fmt: skip
        self._functions: dict[str, Any] = {}
        self._stopped = False
        self._running: Any = None

    @property
    def offered(self) -> bool:
        """See `Place.offered`."""
        nodes = self._engine.nodes()
        return all(offered(nodes, r) >= n for r, n in self.resources.items())

    def call(
        self,
        task: str,
        document: Mapping[str, Any],
        *,
        files: Files = _NO_FILES,
        folders: Files = _NO_FILES,
        report: Report = lambda progress: None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """See `Place.call`."""
        refs: list[Any] = []
        send = self._engine.sender.file
        artifacts = self._engine.artifacts
        if self._stopped:
            raise ChildError("stopped", stage="start")
        passing = {n: [send(f, refs, often=False) for f in visible(p)] for n, p in folders.items()}
        request = {
            "version": __version__,
            "task": task,
            "document": dict(document),
            "files": {n: send(p, refs, often=True) for n, p in files.items()},
            "folders": {
                n: {
                    "key": f"{self._engine.session}/{p.parent.name}/{p.name}",
                    "files": passing[n],
                }
                for n, p in folders.items()
            },
            "artifacts": artifacts.url if artifacts else None,
        }
        if task not in self._functions:  # Ray takes a millisecond to check options
            options = {**self._options, "name": task.rpartition(".")[2]}
            self._functions[task] = self._engine.function.options(**options)
        running = self._functions[task].remote(json.dumps(request), refs)
        self._running = running
        try:
            return self._received(running, folders, report, seconds)
        except BaseException:
            self._cancel(running)
            raise
        finally:
            self._running = None
            self._engine.sender.taken(parcel for sent in passing.values() for parcel in sent)

    def stop(self) -> None:
        """See `Place.stop`."""
        self._stopped = True
        if (running := self._running) is not None:
            self._cancel(running)

    def _cancel(self, running: Any) -> None:
        with suppress(Exception):
            self._ray.cancel(running, force=True)

    def _received(
        self, running: Any, folders: Files, report: Report, seconds: float | None
    ) -> dict[str, Any]:
        """What a task tells, until its answer."""
        made: dict[str, dict[str, bytes]] = {name: {} for name in folders}
        parcel: Parcel = {}
        while True:
            message = self._next(running, seconds)
            content: bytes | None = None
            if isinstance(message, bytes):
                content = message
            else:
                told = json.loads(message)
                if "progress" in told:
                    report(told["progress"])
                    continue
                if "error" in told:
                    raise _refusal(told)
                if "answer" in told:
                    for name, contents in made.items():
                        replace_content(folders[name], contents)
                    answer: dict[str, Any] = told["answer"]
                    return answer
                parcel = told["file"]
                if "url" not in parcel:
                    continue
            made[parcel["folder"]][parcel["name"]] = self._engine.sender.returned(parcel, content)

    def _next(self, running: Any, seconds: float | None) -> str | bytes:
        """The next message of a task.

        Raises:
            ChildError: If its process or its machine is gone, or it tells nothing in time.
            TransportError: If no machine has offered what it needs for a while.
            EngineError: If the head, or this machine's own node, is gone.
        """
        begin = offered_at = time.monotonic()
        errors = self._ray.exceptions
        try:
            while not self._ray.wait([running], timeout=_LOOK_SECONDS)[0]:
                now = time.monotonic()
                if seconds is not None and now - begin > seconds:
                    raise ChildError(
                        f"{self.name} must finish within {seconds:.0f} s and did not",
                        stage="timeout",
                    )
                if self._stopped:
                    raise ChildError("stopped", stage="start")
                if self.offered:
                    offered_at = now
                elif now - offered_at > self._engine.patience_seconds:
                    raise TransportError(
                        f"a node must offer {', '.join(self.resources)}, none has for "
                        f"{self._engine.patience_seconds:.0f} s; nodes offer "
                        f"{in_words(self._engine.nodes())}"
                    )
            message: str | bytes = self._ray.get(next(running))
        except StopIteration:
            raise ChildError("the task ended without an answer", stage="lost") from None
        except errors.TaskCancelledError as error:
            raise ChildError("stopped", stage="start") from error
        except errors.LocalRayletDiedError as error:
            raise self._engine.gone() from error
        except errors.OutOfMemoryError as error:
            raise ChildError(
                f"{self.name}: memory ran out: {first_line(error)}", stage="memory", returncode=-9
            ) from error
        except errors.RayTaskError as error:
            said = first_line(error.cause) if error.cause else first_line(error)
            kind = type(error.cause or error).__name__
            raise ChildError(
                f"the task failed: {kind}: {said}", stage="ended", returncode=1
            ) from error
        except errors.RayError as error:
            raise ChildError(
                f"{self.name}: its process or machine was lost: {first_line(error)}", stage="lost"
            ) from error
        return message


def _refusal(told: Mapping[str, Any]) -> Exception:
    if told.get("kind") == "EngineError":
        return EngineError(told["error"])
    return ChildError(told["error"], stage=told["stage"], kind=told.get("kind", ""))


@cache
def _function() -> Any:
    return ray_library().remote(perform_there)
