"""A node of a Ray cluster, started for as long as a command runs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import MappingProxyType

from phonelm_search.core.defaults import DEFAULT_RAY_PORT, LOOPBACK
from phonelm_search.core.errors import EngineError
from phonelm_search.work.carrying import NODE_FOLDER
from phonelm_search.work.cores import usable_threads
from phonelm_search.work.ray_connection import STORE_BYTES
from phonelm_search.work.ray_library import HOW_TO_INSTALL, QUIET
from phonelm_search.work.underway import folder_under_way

_STARTED = re.compile(r"Ray runtime started|--block", re.IGNORECASE)
_LOOK_SECONDS = 0.5  # a short wait keeps Ctrl-C quick
_GRACE_SECONDS = 20.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def run_node(
    address: str | None,
    *,
    offers: Mapping[str, float],
    listen: str = LOOPBACK,
    port: int = DEFAULT_RAY_PORT,
    gpus: int = 0,
    on_ready: Callable[[], object],
    options: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Start or join a cluster, and be a node of it until Ctrl-C or its end.

    Args:
        address: HOST:PORT of the head; None: this is the head.
        offers: Resources to announce.
        listen: Address of this machine that other nodes reach it at.
        port: Of the head.
        gpus: That trainings may use.
        on_ready: Called once the node is there.
        options: More options of ``ray start``.

    Raises:
        EngineError: If Ray is not installed, or the node does not start or ends by itself.
    """
    if find_spec("ray") is None:
        raise EngineError(f"a node needs Ray: {HOW_TO_INSTALL}")
    where = [f"--address={address}"] if address else ["--head", f"--port={port}"]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block",
        f"--node-ip-address={listen}", f"--num-cpus={usable_threads()}", f"--num-gpus={gpus}",
        f"--resources={json.dumps(dict(offers))}", f"--object-store-memory={STORE_BYTES}",
        "--disable-usage-stats", *(f"--{k}={v}" for k, v in options.items()),
    ]  # fmt: skip
    if address is None:
        command.append("--include-dashboard=false")
    with folder_under_way("phonelm-node-") as folder:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            encoding="utf-8", errors="replace",
            env={**os.environ, **QUIET, NODE_FOLDER: str(folder)},
            process_group=0,  # Ctrl-C is ours: we end it, and what it has started
        )  # fmt: skip
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(process, lines, on_ready), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                reader.join(_LOOK_SECONDS)
        finally:
            _end(process)
        reader.join(_LOOK_SECONDS)
        said = " ".join(lines[-8:]) or "it printed nothing"
        raise EngineError(f"the node must stay, Ray ended it: {said}")


def _read(
    process: "subprocess.Popen[str]", lines: list[str], on_ready: Callable[[], object]
) -> None:
    ready = False
    assert process.stdout is not None
    for line in process.stdout:
        text = _COLOURS.sub("", line).strip()
        if text:
            lines.append(text)
            del lines[:-50]
        if not ready and _STARTED.search(text):
            ready = True
            on_ready()


def _end(process: "subprocess.Popen[str]") -> None:
    """Let Ray end its own processes; what is left of them then is killed."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
