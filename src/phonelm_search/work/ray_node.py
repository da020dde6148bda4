"""A node of a Ray cluster, started for as long as a command runs."""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec

from phonelm_search.core.defaults import DEFAULT_RAY_PORT
from phonelm_search.core.errors import EngineError
from phonelm_search.work.carrying import NODE_FOLDER
from phonelm_search.work.cores import usable_threads
from phonelm_search.work.ray_connection import STORE_BYTES
from phonelm_search.work.ray_library import (
    ENVIRONMENT,
    HOW_TO_INSTALL,
    HOW_TO_JOIN,
    KEPT_PROCESSES,
    short_folder,
)
from phonelm_search.work.underway import folder_under_way

_MODULE = "phonelm_search.work.ray_node"
_ADDRESS = re.compile(r"Local node IP: (\S+)")
_STARTED = re.compile(r"Ray runtime started")
_LOOK_SECONDS = 0.5  # a short wait keeps Ctrl-C quick
_GRACE_SECONDS = 20.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PR_SET_PDEATHSIG = 1


def run_node(
    address: str | None,
    *,
    offers: Mapping[str, float],
    listen: str | None = None,
    port: int = DEFAULT_RAY_PORT,
    gpus: int = 0,
    on_ready: Callable[[str], object],
) -> None:
    """Start or join a cluster, and be a node of it until Ctrl-C or its end.

    Args:
        address: HOST:PORT of the head; None: this is the head.
        offers: Resources to announce.
        listen: Address of this machine that other nodes reach it at; None: Ray finds it.
        port: Of the head.
        gpus: That trainings may use.
        on_ready: Told the node's address once it is there.

    Raises:
        EngineError: If Ray is not installed, or the node does not start or ends by itself.
    """
    if find_spec("ray") is None:
        raise EngineError(f"a node needs Ray: {HOW_TO_INSTALL}")
    kept = {KEPT_PROCESSES: str(usable_threads() + int(sum(offers.values())))}
    environment = {**ENVIRONMENT, **kept, **os.environ, "PYTHONUNBUFFERED": "1"}
    where = [f"--address={address}"] if address else ["--head", f"--port={port}"]
    if listen is not None:
        where.append(f"--node-ip-address={listen}")
    if address is None:
        _make_token(environment)
    command = [
        sys.executable, "-m", _MODULE, "start", *where, "--block",
        f"--num-cpus={usable_threads()}", f"--num-gpus={gpus}",
        f"--resources={json.dumps(dict(offers))}", f"--object-store-memory={STORE_BYTES}",
        "--disable-usage-stats",
    ]  # fmt: skip
    if address is None:
        command.append("--include-dashboard=false")
        command += [f"--temp-dir={folder}"] if (folder := short_folder()) else []
    with folder_under_way("phonelm-node-") as files:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            encoding="utf-8", errors="replace",
            env={**environment, NODE_FOLDER: str(files)},
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
        said = lines[-1] if lines else "it printed nothing"
        remedy = f"; {HOW_TO_JOIN}" if address and "oken" in " ".join(lines) else ""
        raise EngineError(f"the node must stay, Ray ended it: {said}{remedy}")


def _make_token(environment: Mapping[str, str]) -> None:
    """What nodes and drivers know each other by; Ray makes it once for this user and keeps it."""
    command = [sys.executable, "-m", _MODULE, "get-auth-token", "--generate"]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(environment),
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(f"Ray must keep a token in ~/.ray/auth_token: {said}")


def _read(
    process: "subprocess.Popen[str]", lines: list[str], on_ready: Callable[[str], object]
) -> None:
    ready, address = False, ""
    assert process.stdout is not None
    for line in process.stdout:
        text = _COLOURS.sub("", line).strip()
        if text:
            lines.append(text)
            del lines[:-50]
        if (match := _ADDRESS.search(text)) is not None:
            address = match[1]
        if not ready and _STARTED.search(text):
            ready = True
            on_ready(address)


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


def _main() -> None:
    """Ray's own command line, which ends as with SIGTERM when who started it is killed."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    import_module("ray.scripts.scripts").main()


if __name__ == "__main__":
    _main()
