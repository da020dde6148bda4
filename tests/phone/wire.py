"""The adb protocol as a device speaks it over TCP (protocol.txt, SYNC.TXT of adb's sources)."""

import asyncio
import contextlib
import itertools
import stat
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

A_CNXN, A_OPEN, A_OKAY, A_CLSE, A_WRTE, A_AUTH = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"AUTH")
)
VERSION, MOST_BYTES = 0x01000000, 256 * 1024
FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
STDOUT, STDERR, EXIT = 1, 2, 3


class Dropped(Exception):
    """The device goes away in the middle of something."""


@dataclass
class Stream:
    """One service that the client has opened."""

    connection: "Connection"
    remote: int
    local: int
    received: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    buffer: bytes = b""

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST_BYTES):
            self.acknowledged.clear()
            await self.connection.send(
                A_WRTE, self.local, self.remote, data[start : start + MOST_BYTES]
            )
            await self.acknowledged.wait()

    async def read(self, count: int) -> bytes:
        while len(self.buffer) < count:
            more = await self.received.get()
            if more is None:
                raise ConnectionAbortedError
            self.buffer += more
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    async def packet(self, kind: int, data: bytes) -> None:
        """One packet of the shell protocol, version 2."""
        for start in range(0, max(1, len(data)), MOST_BYTES - 5):
            part = data[start : start + MOST_BYTES - 5]
            await self.write(struct.pack("<BI", kind, len(part)) + part)


Service = Callable[[Stream, str], Awaitable[None]]


class Connection:
    """One TCP connection of a client, that is of the adb server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
    ) -> None:
        self._reader, self._writer, self._service = reader, writer, service
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = (command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        self._writer.write(struct.pack("<6I", *header) + data)
        await self._writer.drain()

    async def receive(self) -> tuple[int, int, int, bytes]:
        command, first, second, size, _, _ = struct.unpack(
            "<6I", await self._reader.readexactly(24)
        )
        return command, first, second, await self._reader.readexactly(size)

    async def serve(self) -> None:
        while True:
            command, first, second, data = await self.receive()
            if command == A_OPEN:
                stream = Stream(self, remote=first, local=next(self._numbers))
                self._streams[stream.local] = stream
                await self.send(A_OKAY, stream.local, stream.remote)
                task = asyncio.create_task(self._run(stream, data.rstrip(b"\0").decode()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif second not in self._streams:
                continue
            elif command == A_WRTE:
                self._streams[second].received.put_nowait(data)
                await self.send(A_OKAY, second, first)
            elif command == A_OKAY:
                self._streams[second].acknowledged.set()
            elif command == A_CLSE:
                self._streams.pop(second).received.put_nowait(None)
                await self.send(A_CLSE, second, first)

    async def _run(self, stream: Stream, name: str) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                await self._service(stream, name)
            except Dropped:
                self.close()
                return
            await self.send(A_CLSE, stream.local, stream.remote)

    def close(self) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._writer.transport.abort()


async def sync_service(
    stream: Stream,
    place: Callable[[str], Path],
    refuse: Callable[[str, int], Awaitable[str | None]],
) -> None:
    """File transfer: stat and send are what ``adb push`` asks for.

    Args:
        place: Where a path of the phone is on this machine.
        refuse: Asked with the path and the bytes so far; an answer is the reason to fail with.
    """
    while True:
        kind, size = struct.unpack("<4sI", await stream.read(8))
        if kind == b"QUIT":
            return
        path = (await stream.read(size)).decode()
        if kind in (b"STA2", b"LST2"):
            await stream.write(_stat2(kind, place(path)))
        elif kind == b"STAT":
            await stream.write(_stat1(place(path)))
        elif kind == b"SEND":
            name, _, _mode = path.rpartition(",")
            await _receive(stream, name, place(name), refuse)
        else:
            raise AssertionError(f"the client asks for {kind!r}")


async def _receive(
    stream: Stream, name: str, path: Path, refuse: Callable[[str, int], Awaitable[str | None]]
) -> None:
    reason, done = None, 0
    with path.open("wb") as file:
        while True:
            kind, size = struct.unpack("<4sI", await stream.read(8))
            if kind == b"DONE":
                break
            data = await stream.read(size)
            reason = reason or await refuse(name, done)
            if reason is None:
                file.write(data)
                file.flush()
                done += len(data)
    text = (reason or "").encode()
    await stream.write(struct.pack("<4sI", b"FAIL" if reason else b"OKAY", len(text)) + text)


def _stat1(path: Path) -> bytes:
    if not path.exists():
        return struct.pack("<4sIII", b"STAT", 0, 0, 0)
    found = path.stat()
    return struct.pack("<4sIII", b"STAT", found.st_mode, found.st_size, int(found.st_mtime))


def _stat2(kind: bytes, path: Path) -> bytes:
    layout = "<4sIQQIIIIQqqq"
    if not path.exists():
        return struct.pack(layout, kind, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    s = path.stat()
    mode = s.st_mode if path.is_file() else s.st_mode | stat.S_IFDIR
    return struct.pack(layout, kind, 0, s.st_dev, s.st_ino, mode, s.st_nlink, 0, 0, s.st_size,
                       int(s.st_atime), int(s.st_mtime), int(s.st_ctime))  # fmt: skip
