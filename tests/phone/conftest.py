"""Simulated phones, an adb server of the tests' own, and what phones are given."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from phone.simulated import SimulatedPhone, simulated_phone
from phonelm_search.backends.native import cache_folder
from phonelm_search.backends.phone import bundle
from phonelm_search.backends.phone.adb import Adb

Plug = Callable[..., SimulatedPhone]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker plugs phones: another would wait until the first has compiled the runner."""
    for item in items:
        if "adb_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("phone"))


@pytest.fixture(scope="session")
def prepared(shared: Path) -> None:
    """What `devices prepare` does; a worker at a time, so that nothing is made twice."""
    with FileLock(shared / "phone-bundle.lock"):
        bundle.fetch_wheel()
        bundle.glibc_bundle()


@pytest.fixture(scope="session")
def adb_server(
    prepared: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """A server on a port of its own: tests must not touch a developer's phones.

    The first command of a client starts it; these variables lead there.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PHONELM_CACHE": str(cache_folder()),
    }
    yield variables
    subprocess.run(
        ["adb", "kill-server"], check=False, capture_output=True, env={**os.environ, **variables}
    )


@pytest.fixture(scope="module", autouse=True)
def _own_server(adb_server: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in adb_server.items():
            patch.setenv(name, value)
        yield


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
