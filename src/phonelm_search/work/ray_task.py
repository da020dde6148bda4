"""The other end of `ray_engine.RayPlace.call`, in a process of Ray's on whatever machine."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from phonelm_search import __version__
from phonelm_search.work.carrying import Artifacts, NodeFiles, Parcel
from phonelm_search.work.ray_library import ray_library
from phonelm_search.work.serving import answered
from phonelm_search.work.tasks import perform


def perform_there(request: str, refs: Sequence[Any]) -> Iterator[str | bytes]:
    """What a task tells, then its answer; a file that goes back is its name, then its content.

    Args:
        request: Task, document and parcels, as JSON.
        refs: What leads to the contents of parcels that go by Ray.
    """
    asked = json.loads(request)
    if asked["version"] != __version__:
        yield json.dumps(
            {
                "error": f"all nodes must have the same phonelm-search: {asked['version']} asks, "
                f"{socket.gethostname()} has {__version__}; install one of them on both",
                "stage": "start",
                "kind": "EngineError",
            }
        )
        return
    artifacts = Artifacts(asked["artifacts"]) if asked["artifacts"] else None

    def read(parcel: Parcel) -> bytes:
        if "url" in parcel:
            assert artifacts is not None
            return artifacts.get(parcel["url"])
        content: bytes = ray_library().get(refs[parcel["ref"]])
        return content

    node = NodeFiles(read, artifacts)
    told: SimpleQueue[dict[str, Any] | BaseException] = SimpleQueue()
    folders: dict[str, Path] = {}

    def act() -> dict[str, Any]:
        files = {name: node.file(parcel) for name, parcel in asked["files"].items()}
        for name, folder in asked["folders"].items():
            folders[name] = node.folder(folder["key"], folder["files"])
        return perform(
            asked["task"], asked["document"], {**files, **folders},
            lambda progress: told.put({"progress": dict(progress)}),
        )  # fmt: skip

    def work() -> None:
        try:
            told.put(answered(act))
        except BaseException as error:  # noqa: BLE001 - raised again below, where Ray sees it
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        message = told.get()
        if isinstance(message, BaseException):
            raise message
        if "answer" in message:
            for name, path in folders.items():
                for parcel, content in node.results(name, path):
                    yield json.dumps({"file": parcel})
                    if content is not None:
                        yield content
                shutil.rmtree(path, ignore_errors=True)
        yield json.dumps(message)
        if "progress" not in message:
            return
