"""Ray as the engine, on real raylets: places, what nodes offer, what is lost."""

import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from phonelm_search.core.errors import EngineError, TransportError
from phonelm_search.work import Place, open_ray, share
from phonelm_search.work.carrying import Artifacts, Sender
from work.place_contract import PlaceContract
from work.ray_cluster import Nodes

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]


@pytest.fixture(scope="module")
def engine(ray_nodes: Nodes) -> Iterator[Any]:
    with open_ray(ray_nodes.address, patience_seconds=1.0) as engine:
        yield engine


class TestRayPlace(PlaceContract):
    """See `PlaceContract`."""

    @pytest.fixture
    def places(self, engine: Any) -> Sequence[Place]:
        places: Sequence[Place] = engine.trainers()
        assert len(places) == 2
        return places

    def test_a_file_is_written_once_on_a_node(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        text = tmp_path / "text.txt"
        text.write_text("once")
        answers = [
            place.call(
                "place_tasks:work_in_folder", {}, files={"text": text},
                folders={"folder": tmp_path / "trunk" / str(i)},
            )
            for i, place in enumerate(places)
        ]  # fmt: skip
        assert answers[0]["path"] == answers[1]["path"] != str(text)


def test_files_go_by_a_shared_folder_where_one_is_given(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(f"file://{tmp_path}/shared")
    monkeypatch.setattr(engine, "artifacts", artifacts)
    monkeypatch.setattr(engine, "sender", Sender(engine.ray.put, artifacts))
    TestRayPlace().test_files_are_there_and_a_folder_is_as_the_task_left_it(
        engine.trainers(), tmp_path
    )
    left = [p.name for p in (tmp_path / "shared").rglob("*") if p.is_file()]
    assert len(left) == 1  # the text, which other tasks take, too


def test_a_phone_whose_node_is_lost_gives_its_job_back(ray_nodes: Nodes, engine: Any) -> None:
    node = ray_nodes.add({"phonelm:pixel:B": 1})
    deadline = time.monotonic() + 20
    while len(places := engine.devices("pixel", alone=False)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [p.name for p in places] == ["phonelm:pixel:A", "phonelm:pixel:B"]
    done: list[int] = []
    lost: list[tuple[str, str]] = []
    killed = threading.Event()

    def act(place: Place, number: int) -> None:
        if place.name.endswith("B") and not killed.is_set():
            killed.set()
            ray_nodes.kill(node)
        done.append(place.call("place_tasks:echo", {"number": number})["told"]["number"])
        time.sleep(0.1)

    share(places, range(4), act, on_lost=lambda p, error: lost.append((p.name, str(error))))
    assert sorted(done) == [0, 1, 2, 3]
    ((name, message),) = lost
    assert name == "phonelm:pixel:B"
    assert "a node must offer phonelm:pixel:B, none has for 1 s; nodes offer" in message
    assert "phonelm:pixel:A (1)" in message


def test_what_no_node_offers_is_told_with_what_they_do(engine: Any) -> None:
    with pytest.raises(
        EngineError,
        match=r"must offer phonelm:other:\*, none does; nodes offer .*phonelm:train \(2\)",
    ):
        engine.devices("other", alone=False)


def test_a_serial_that_is_not_announced_is_told(engine: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(engine, "_serials", ("A", "Z"))
    with pytest.raises(EngineError, match=r"must offer phonelm:pixel:Z, none does"):
        engine.devices("pixel", alone=False)


def test_a_node_of_another_release_is_refused(engine: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("phonelm_search.work.ray_engine.__version__", "9.9.9")
    with pytest.raises(EngineError, match=r"the same phonelm-search: 9\.9\.9 asks, .* has"):
        engine.trainers()[0].call("place_tasks:echo", {})


def test_a_head_that_is_gone_ends_what_waits_in_one_line(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (place, *_) = engine.trainers()
    monkeypatch.setattr("phonelm_search.work.ray_engine._LOOK_SECONDS", 0.2)
    monkeypatch.setattr("phonelm_search.work.ray_engine._HEAD_SECONDS", -1.0)
    told = (
        r"Ray's head at \S+ and this machine's node must stay, one of them is gone; start the "
        "nodes again, then run the same command again: what was finished is kept"
    )
    with pytest.raises(EngineError, match=told):
        place.call("place_tasks:sleep", {"begun": str(tmp_path / "begun")})


def test_a_place_that_nobody_offers_any_more_is_lost(engine: Any) -> None:
    from phonelm_search.work.ray_engine import RayPlace

    place = RayPlace(engine, name="gone", resources={"phonelm:pixel:X": 1.0}, cpus=0.0)
    assert not place.offered
    with pytest.raises(TransportError, match="a node must offer phonelm:pixel:X"):
        place.call("place_tasks:echo", {})
