"""Files that go to a task on another machine and come back: by an engine, or by a shared folder."""

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from phonelm_search.core.errors import EngineError
from phonelm_search.work.underway import file_under_way

NODE_FOLDER = "PHONELM_NODE_FOLDER"
"""Environment variable: where a node keeps what it was sent. Who starts the node removes it."""
Parcel = Mapping[str, Any]
"""A file on its way: ``name``, ``digest`` of its content, and ``ref`` or ``url``."""


class Artifacts:
    """A folder that all machines reach, in place of an engine's own way.

    Args:
        url: As fsspec takes it: a path, or ``s3://…``.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            self._files, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise EngineError(
                f"--artifacts must be a folder that fsspec can use, got {url}: {error}"
            ) from error
        self.url = url

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            EngineError: If the folder cannot be written.
        """
        path = f"{self._root}/{name}"
        part = f"{path}.{secrets.token_hex(4)}.phonelm-part"
        try:
            self._files.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120 - no Path
            self._files.pipe_file(part, content)
            self._files.mv(part, path)
        except OSError as error:
            raise EngineError(f"{self.url} must be writable for all machines: {error}") from error

    def get(self, name: str) -> bytes:
        """Read a file.

        Raises:
            EngineError: If it cannot be read.
        """
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except OSError as error:
            raise EngineError(
                f"{self.url} must be the same folder for all machines, {name} cannot be read: "
                f"{error}"
            ) from error
        return content

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return bool(self._files.exists(f"{self._root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file that was taken; what is gone already is no matter."""
        with suppress(OSError):
            self._files.rm_file(f"{self._root}/{name}")


def digest_of(content: bytes) -> str:
    """Identifies a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


class Sender:
    """Sends files and takes what came back; a file that several tasks take goes once.

    Args:
        put: Hands a file's content to the engine; gives what leads to it there.
        artifacts: A shared folder in its place.
    """

    def __init__(self, put: Callable[[bytes], Any], artifacts: Artifacts | None) -> None:
        self._put, self._artifacts = put, artifacts
        self._known: dict[tuple[Path, int, int], tuple[Parcel, Any]] = {}
        self._lock = threading.Lock()

    def file(self, path: Path, refs: list[Any], *, often: bool) -> Parcel:
        """Send a file.

        Args:
            path: The file.
            refs: What the engine hands over with the task; the parcel may be one more of them.
            often: Whether other tasks will take the same, so that it stays where it is.
        """
        status = path.stat()
        key = (path.resolve(), status.st_mtime_ns, status.st_size)
        with self._lock:
            parcel, ref = self._known.get(key) or self._sent(path, often=often)
            if often:
                self._known[key] = parcel, ref
        if "url" in parcel:
            return parcel
        refs.append(ref)
        return {**parcel, "ref": len(refs) - 1}

    def _sent(self, path: Path, *, often: bool) -> tuple[Parcel, Any]:
        content = path.read_bytes()
        parcel = {"name": path.name, "digest": digest_of(content)}
        if self._artifacts is None:
            return parcel, self._put(content)
        url = f"text/{parcel['digest']}" if often else f"passing/{secrets.token_hex(8)}"
        if not (often and self._artifacts.has(url)):
            self._artifacts.put(url, content)
        return {**parcel, "url": url}, None

    def taken(self, parcels: Iterable[Parcel]) -> None:
        """A task is over: what it alone was sent is removed."""
        for parcel in parcels:
            if "url" in parcel and self._artifacts is not None:
                self._artifacts.remove(parcel["url"])

    def returned(self, parcel: Parcel, content: bytes | None) -> bytes:
        """What came back."""
        if content is not None:
            return content
        assert self._artifacts is not None
        found = self._artifacts.get(parcel["url"])
        self._artifacts.remove(parcel["url"])
        return found


class NodeFiles:
    """What a node was sent: files by digest, written once; folders as the last try left them.

    Args:
        read: Content of a parcel.
        artifacts: Where results go; None: they go back with the answer.
    """

    def __init__(self, read: Callable[[Parcel], bytes], artifacts: Artifacts | None) -> None:
        self._root, self._read, self._artifacts = node_folder(), read, artifacts

    def file(self, parcel: Parcel) -> Path:
        """A file, which no task may change."""
        folder = self._root / "files" / str(parcel["digest"])
        target = folder / str(parcel["name"])
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                if not target.exists():
                    with file_under_way(target) as part:
                        part.write_bytes(self._read(parcel))
        return target

    def folder(self, key: str, parcels: Sequence[Parcel]) -> Path:
        """A folder; what a task that was killed has left in it stays."""
        folder = self._root / "folders" / key
        folder.mkdir(parents=True, exist_ok=True)
        for parcel in parcels:
            target = folder / parcel["name"]
            if not target.exists():
                with file_under_way(target) as part:
                    part.write_bytes(self._read(parcel))
        return folder

    def results(self, name: str, folder: Path) -> Iterator[tuple[Parcel, bytes | None]]:
        """What is in a folder, as parcels and, where they go back with the answer, contents."""
        for path in visible(folder):
            content = path.read_bytes()
            parcel = {"folder": name, "name": path.name, "digest": digest_of(content)}
            if self._artifacts is None:
                yield parcel, content
            else:
                url = f"passing/{secrets.token_hex(8)}"
                self._artifacts.put(url, content)
                yield {**parcel, "url": url}, None


def visible(folder: Path) -> list[Path]:
    """Files of a folder, those under way left out; none where it is missing."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def replace_content(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Let a folder hold these files and no others."""
    before = visible(folder)
    if contents:
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with file_under_way(folder / name) as part:
            part.write_bytes(content)
    for path in before:
        if path.name not in contents:
            path.unlink(missing_ok=True)


@lru_cache
def node_folder() -> Path:
    """Where this node keeps what it was sent."""
    told = os.environ.get(NODE_FOLDER)
    folder = Path(told) if told else user_cache_path("phonelm-search") / "node"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
