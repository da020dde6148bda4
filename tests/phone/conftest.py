"""Simulated phones, an adb server of the tests' own, and what phones are given."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from phone.simulated import SimulatedPhone, simulated_phone
from phonelm_search.backends.phone import bundle
from phonelm_search.backends.phone.adb import Adb

Plug = Callable[..., SimulatedPhone]


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """What `devices prepare` does, while pip still finds its configuration at home."""
    bundle.fetch_wheel()
    bundle.glibc_bundle()


@pytest.fixture(scope="session", autouse=True)
def adb_server(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server on a port of its own: tests must not touch a developer's phones."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = {name: os.environ.get(name) for name in ("ANDROID_ADB_SERVER_PORT", "HOME")}
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.setdefault(
        "PHONELM_CACHE", str(Path(before["HOME"] or "/tmp") / ".cache/phonelm-search")
    )
    yield
    subprocess.run(["adb", "kill-server"], check=False, capture_output=True)
    for name, value in before.items():
        if value is not None:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated phone is back at once, or not at all."""
    monkeypatch.setattr("phonelm_search.backends.phone.adb._WAIT_SECONDS", 2.0)


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    """Makes connected simulated phones."""
    with ExitStack() as stack:
        count = 0

        def one(*, connect: bool = True, **options: dict[str, str]) -> SimulatedPhone:
            nonlocal count
            count += 1
            phone = stack.enter_context(simulated_phone(tmp_path / f"phone{count}", **options))
            if connect:
                said = Adb().call("connect", phone.serial)
                assert "connected to" in said.stdout, said
            stack.callback(lambda: Adb().call("disconnect", phone.serial))
            return phone

        yield one


@pytest.fixture
def phone(plug: Plug) -> SimulatedPhone:
    """One connected simulated phone."""
    return plug()
