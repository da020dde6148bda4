"""Connecting to a Ray cluster, or starting one on this machine alone."""

import atexit
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

from phonelm_search.core.defaults import LOOPBACK
from phonelm_search.core.errors import EngineError
from phonelm_search.work.carrying import NODE_FOLDER, Artifacts
from phonelm_search.work.cores import usable_threads
from phonelm_search.work.ray_engine import RayEngine
from phonelm_search.work.ray_library import (
    HOW_TO_JOIN,
    KEPT_PROCESSES,
    ray_library,
    short_folder,
)
from phonelm_search.work.underway import folder_under_way

STORE_BYTES = 256 * 2**20
"""Of the object store of a node that we start: text and checkpoints; what is more goes to disk."""
_REACH_SECONDS = 5.0
_LEAVE_SECONDS = 10.0
_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Of a driver: after a minute without the head Ray would end this process, in words of its own."""


@contextmanager
def open_ray(
    address: str | None,
    *,
    artifacts: str | None = None,
    serials: Sequence[str] = (),
    offers: Mapping[str, float] = MappingProxyType({}),
    patience_seconds: float = 60.0,
) -> Iterator[RayEngine]:
    """Connect to Ray, or start one on this machine alone.

    Args:
        address: HOST:PORT of the head; None: one that ends with this process.
        artifacts: A folder that all machines reach, which files go by; None: they go by Ray.
        serials: Phones to measure on; none: all that are announced.
        offers: What this machine offers where no address is given.
        patience_seconds: How long a task waits for a node that went away.

    Raises:
        EngineError: If Ray is not installed or not reachable, or of another version there.
    """
    shared = Artifacts(artifacts) if artifacts else None
    if address is not None:
        os.environ.setdefault(_PATIENCE, "1000000")
    ray = ray_library()
    if ray.is_initialized():
        raise EngineError("this process is connected to Ray already; end that with ray.shutdown()")
    with folder_under_way("phonelm-node-") as folder:
        if address is None:
            os.environ[NODE_FOLDER] = str(folder)
            os.environ.setdefault(KEPT_PROCESSES, str(usable_threads() + int(sum(offers.values()))))
        else:
            _check_reachable(address)
        with _signals_kept():
            try:
                _connect(ray, address, offers)
            except Exception as error:
                with suppress(Exception):
                    ray.shutdown()
                raise _not_connected(address, error) from error
        engine = RayEngine(
            address or "this machine", artifacts=shared, serials=serials,
            patience_seconds=patience_seconds,
        )  # fmt: skip
        try:
            yield engine
        finally:
            engine.close()
            with _signals_kept():
                _leave(ray, None if address is None else _LEAVE_SECONDS)
            if address is None:
                os.environ.pop(NODE_FOLDER, None)


def _connect(ray: Any, address: str | None, offers: Mapping[str, float]) -> None:
    if address is not None:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        return
    ray.init(
        address="local", num_cpus=usable_threads(), resources=dict(offers),
        include_dashboard=False, _temp_dir=short_folder(), _node_ip_address=LOOPBACK,
        object_store_memory=STORE_BYTES, log_to_driver=False, logging_level="ERROR",
    )  # fmt: skip


def _leave(ray: Any, seconds: float | None) -> None:
    """Disconnect; where the head is gone, Ray waits for it, and nobody waits for Ray."""
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(seconds)
    if leaving.is_alive():
        atexit.unregister(ray.shutdown)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; what a command does at it is the command's."""
    kept = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is not None:
                kept[number] = signal.getsignal(number)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "://" in address:
        raise EngineError(f"--address must be HOST:PORT of Ray's head, got {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"Ray's head must be reachable at {address}: {error}; start it there with "
            "`phonelm-search ray-node`"
        ) from error


def _not_connected(address: str | None, error: Exception) -> EngineError:
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        return EngineError(f"all nodes must have the same Ray and Python: {text}")
    if address is None:
        return EngineError(f"Ray must start on this machine: {text}")
    return EngineError(
        f"this machine must be a node of the Ray at {address}: {text}; make it one with "
        f"`phonelm-search ray-node --address {address}`, and {HOW_TO_JOIN}"
    )
