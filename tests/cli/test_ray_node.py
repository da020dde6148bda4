"""A machine as a node, from its start to Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers import Told
from phonelm_search.cli.main import run_command
from phonelm_search.stages.engine import node_offers
from phonelm_search.work import open_ray

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that were started with this folder for temporary files."""
    wanted = f"TMPDIR={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("ray_token")
def test_a_node_offers_what_it_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    temporary = tmp_path / "t"
    temporary.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "phonelm_search.cli.main", "ray-node", "--port", str(port),
         "--device", "fake-phone", "--trainings", "1"],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(temporary)}, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    limit = threading.Timer(90, process.kill)
    limit.start()
    line = next((text for text in process.stderr if "offers" in text), "")
    assert (
        f"this node offers phonelm:fake-phone:{socket.gethostname()} (1), phonelm:train (1)" in line
    )
    assert f":{port}; Ctrl-C ends it" in line
    with open_ray(f"127.0.0.1:{port}") as engine:
        (place,) = engine.devices("fake-phone", alone=True)
        assert place.name == f"phonelm:fake-phone:{socket.gethostname()}"
        assert len(engine.trainers()) == 1
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    limit.cancel()
    assert process.wait(30) == 130
    assert "Traceback" not in rest
    assert processes_of(temporary) == []
    assert not list(temporary.glob("phonelm-node-*"))


def test_a_node_may_be_for_a_driver_alone() -> None:
    assert node_offers((), (), trainings=0, gpus=0, report=Told()) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainings", "1000"], "--trainings must be at most one for each processor"),
        (["--serial", "A", "--device", "host-cpu"], "--serial is for phones"),
    ],
)
def test_what_a_node_cannot_offer_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["ray-node", *words]) == 1
    assert message in capsys.readouterr().err
