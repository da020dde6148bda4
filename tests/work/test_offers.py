"""What nodes announce, and what is said where they don't."""

import subprocess
import sys
import threading
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.errors import EngineError
from phonelm_search.work import open_ray
from phonelm_search.work.offers import Node, device_offers, device_resource, gpu_share, in_words
from phonelm_search.work.ray_connection import _leave

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
NODES = [
    Node(name="laptop", resources={"CPU": 8.0, "phonelm:pixel:A": 1.0, "memory": 1e9}),
    Node(name="other", resources={"CPU": 4.0, "phonelm:pixel:usb:1-2": 1.0}),
    Node(name="rack", resources={"CPU": 32.0, "GPU": 2.0, "phonelm:train-gpu": 8.0}),
]


def test_all_phones_of_a_profile_are_found_whatever_their_serial() -> None:
    assert device_offers(NODES, "pixel") == {"phonelm:pixel:A": 8.0, "phonelm:pixel:usb:1-2": 4.0}
    assert device_offers(NODES, "pixel", ["usb:1-2"]) == {"phonelm:pixel:usb:1-2": 4.0}
    assert device_resource("pixel", "A") == "phonelm:pixel:A"


@given(serials=st.lists(st.text(min_size=1, max_size=40), max_size=5, unique=True))
def test_whatever_a_phone_is_called_it_is_found_by_its_profile_alone(serials: list[str]) -> None:
    resources = {device_resource("pixel", s): 1.0 for s in serials}
    other = {device_resource("pixel-8", s): 1.0 for s in ["A", *serials]}
    nodes = [Node(name="n", resources={**other, **resources, "CPU": 2.0})]
    assert set(device_offers(nodes, "pixel-8")) == set(other)
    if serials:
        assert device_offers(nodes, "pixel") == dict.fromkeys(resources, 2.0)


def test_a_missing_device_is_told_in_one_line_with_what_there_is() -> None:
    with pytest.raises(EngineError) as caught:
        device_offers(NODES, "galaxy")
    assert str(caught.value) == (
        "a node must offer phonelm:galaxy:*, none does; nodes offer laptop: phonelm:pixel:A (1); "
        "other: phonelm:pixel:usb:1-2 (1); rack: phonelm:train-gpu (8); announce it with "
        "`phonelm-search ray-node --device galaxy`"
    )


@pytest.mark.parametrize(
    ("gpus", "trainings", "share"), [(2, 8, 0.25), (1, 3, 0.3333), (4, 4, 1.0), (0, 0, 0.0)]
)
def test_a_training_takes_its_share_of_a_gpu(gpus: int, trainings: int, share: float) -> None:
    node = Node(name="rack", resources={"GPU": gpus, "phonelm:train-gpu": trainings})
    assert gpu_share([node]) == share


def test_no_node_is_told_too() -> None:
    assert in_words([]) == "nothing, for there is none"


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(
            EngineError, match=r"--engine ray needs Ray: pip install 'phonelm-search\[ray\]'"
        ),
        open_ray(None),
    ):
        pass


@needs_ray
@pytest.mark.parametrize("address", ["ray://host:10001", "host", "host:port"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(EngineError, match="must be HOST:PORT"), open_ray(address):
        pass


@needs_ray
def test_a_head_that_is_not_there_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"must be reachable at 127\.0\.0\.1:9: .*ray-node"):  # noqa: SIM117
        with open_ray("127.0.0.1:9"):
            pass


def test_nobody_waits_for_a_ray_that_waits_for_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    forgotten: list[object] = []
    monkeypatch.setattr("atexit.unregister", forgotten.append)
    ray = SimpleNamespace(shutdown=forever.wait)
    _leave(ray, 0.05)
    assert forgotten == [ray.shutdown]
    forever.set()
    _leave(ray, 20.0)
    assert len(forgotten) == 1


def test_nothing_of_ray_is_loaded_without_the_engine() -> None:
    script = (
        "import sys, phonelm_search.stages as s, phonelm_search.cli.main\n"
        "s.EnginePlan, s.run_all, s.run_search, s.open_engine\n"
        "with s.open_engine(s.LOCAL) as engine: assert engine is None\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'ray']"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
