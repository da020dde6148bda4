"""Machines that are none: namespaces for network, processes, temporary files and name.

A bridge joins them and nothing leads out of it: what listens on all interfaces listens there. Needs
Linux, root, and the programs ip, unshare and nsenter.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

HUB = "10.77.0.254"
"""Address of this process in the network."""
_INSIDE = "PHONELM_INSIDE_NETWORK"
_START_SECONDS = 20.0


def enter_network() -> None:
    """Begin anew in a network namespace of this process alone, with the bridge."""
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    for words in (
        "link set lo up", "link add hub type bridge", f"addr add {HUB}/24 dev hub",
        "link set hub up",
    ):  # fmt: skip
        _ip(words)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


class Machine:
    """One machine; all of it ends with this process.

    Args:
        name: Its host name.
        number: The last part of its address.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{HUB.rpartition('.')[0]}.{number}"
        self._link = f"to-{number}"
        self.start()

    def start(self) -> None:
        """Switch it on; its temporary files are new."""
        script = f"hostname {self.name} && mount -t tmpfs tmpfs /tmp && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child",
             "--mount-proc", "sh", "-c", script],
            start_new_session=True,
        )  # fmt: skip
        self._init = _child(self._holder.pid)
        _ip(f"link add {self._link} type veth peer name eth0 netns {self._init}")
        _ip(f"link set {self._link} master hub up")
        for words in (
            "link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up",
            f"route add default via {HUB}",
        ):  # fmt: skip
            subprocess.run([*self._enter, "ip", *words.split()], check=True)

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._init}", "--net", "--uts", "--mount", "--pid"]

    def process(
        self, *words: str, folder: Path, variables: Mapping[str, str], log: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Start a program there; the process that is returned ends with it, and as it does."""
        return subprocess.Popen(
            [*self._enter, "env", f"--chdir={folder.resolve()}", *words],
            env={**os.environ, **variables}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def processes(self, *parts: str) -> list[int]:
        """Processes there whose command line begins with, or holds, one of these."""
        space = Path(f"/proc/{self._init}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if any(p in line for p in parts) and (entry / "ns/pid").readlink() == space:
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Switch it off as a power failure does."""
        self._holder.kill()
        self._holder.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)
        subprocess.run(["ip", "link", "del", self._link], check=False, stderr=subprocess.DEVNULL)


def _child(pid: int) -> int:
    """The process that a process has started."""
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if text.strip():
            return int(text.split()[0])
        time.sleep(0.02)
    raise SystemExit(f"process {pid} must start another one and did not")


def inner(process: "subprocess.Popen[bytes]") -> int:
    """The program itself that `Machine.process` has started."""
    return _child(process.pid)
