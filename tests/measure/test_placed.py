"""Devices at other machines, whose tasks are done in this process."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers import QUICK, WORKLOADS, fake_device, small_shape
from phonelm_search.core.errors import ChildError, ConfigurationError, TransportError
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import Profiler, Request, placed
from phonelm_search.measure.placed import PlacedBench, measure_there
from phonelm_search.store import Store
from phonelm_search.work.serving import answered
from recorder import Recorder


class Phones:
    """What is plugged in, and how often it was connected to."""

    def __init__(self) -> None:
        self.plugged = {"a", "b"}
        self.connected: list[str] = []

    def runtime(self, profile: DeviceProfile, *, serial: str, note: object) -> Recorder:
        if serial not in self.plugged:
            raise ConfigurationError(f"{serial} must be connected and ready, it is absent")
        self.connected.append(serial)
        phones = self

        class Phone(Recorder):
            def run(self, job: Any, files: Any) -> Any:
                if serial not in phones.plugged:
                    raise TransportError(f"{serial} must be connected, adb does not find it")
                return super().run(job, files)

        return Phone()


class Place:
    """This process as a place; what goes there and back is JSON."""

    def __init__(self, serial: str) -> None:
        self.name, self.offered = serial, True

    def call(
        self, task: str, document: Mapping[str, Any], *, files: Mapping[str, Path],
        report: Callable[[Mapping[str, Any]], object], **_: object,
    ) -> dict[str, Any]:  # fmt: skip
        asked = json.loads(json.dumps(document))
        told = answered(lambda: measure_there(asked, files, report))
        if "error" in told:
            raise ChildError(told["error"], stage=told["stage"], kind=told["kind"])
        return json.loads(json.dumps(told["answer"]))  # type: ignore[no-any-return]

    def stop(self) -> None:
        pass


@pytest.fixture
def phones(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phones]:
    found = Phones()
    monkeypatch.setattr(placed, "get_runtime", found.runtime)
    placed._there.cache_clear()
    yield found
    placed._there.cache_clear()


def profiler(folder: Path, places: list[Place], notes: list[str]) -> Profiler:
    device = fake_device()
    benches = [
        PlacedBench(p, device, QUICK, serial=p.name, note=notes.append, calibration=None)
        for p in places
    ]
    return Profiler(Store(folder), device, settings=QUICK, benches=benches, note=notes.append)


def requests(first: int) -> list[Request]:
    shapes = [small_shape(num_hidden_layers=n) for n in range(first, first + 2)]
    return [Request(shape=s, workloads=WORKLOADS) for s in shapes]


def test_a_phone_that_is_back_measures_again(phones: Phones, tmp_path: Path) -> None:
    places, notes = [Place("a"), Place("b")], list[str]()
    measuring = profiler(tmp_path, places, notes)
    phones.plugged.remove("b")
    measuring.measure(requests(1))
    assert measuring.workers == 1
    measuring.measure([])  # it is still away
    assert measuring.workers == 1
    phones.plugged.add("b")
    places[1].offered = False  # and then its machine
    measuring.measure([])
    assert measuring.workers == 1
    places[1].offered = True
    outcomes = measuring.measure(requests(3))
    assert measuring.workers == 2
    assert all(o.error is None for o in outcomes)
    assert notes == [
        "b must be connected, adb does not find it (stage: transport); the other phones go on",
        "b is back",
    ]


def test_a_phone_that_is_not_there_to_begin_with_ends_the_command(
    phones: Phones, tmp_path: Path
) -> None:
    phones.plugged.remove("b")
    with pytest.raises(ConfigurationError, match="b must be connected and ready, it is absent"):
        profiler(tmp_path, [Place("a"), Place("b")], [])


def test_a_phone_that_is_away_when_its_process_begins_anew_is_lost_and_the_others_go_on(
    phones: Phones, tmp_path: Path
) -> None:
    notes: list[str] = []
    measuring = profiler(tmp_path, [Place("a"), Place("b")], notes)
    phones.plugged.remove("b")
    placed._there.cache_clear()  # as after a kill
    outcomes = measuring.measure(requests(1))
    assert all(o.error is None for o in outcomes)
    assert phones.connected.count("b") == 1
    (note,) = notes
    assert "b must be connected and ready, it is absent" in note
    assert "the other phones go on" in note
