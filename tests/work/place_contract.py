"""One contract for every place that does tasks, and for the sharing of jobs among them."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from phonelm_search.core.errors import ChildError, MeasurementError, UnsupportedShapeError
from phonelm_search.work import MOST_TRIES, Place, retried, share


class PlaceContract:
    """What every place must do; a subclass gives two of them as the fixture ``places``."""

    def test_progress_comes_in_order_before_the_answer(self, places: Sequence[Place]) -> None:
        told: list[int] = []
        assert all(place.offered for place in places)
        document = {"steps": 5, "text": "größer ✓", "none": None, "number": 0.1}
        answer = places[0].call(
            "place_tasks:echo", document, report=lambda progress: told.append(progress["step"])
        )
        assert told == [0, 1, 2, 3, 4]
        assert answer["told"] == document

    def test_a_refusal_says_what_it_is(self, places: Sequence[Place]) -> None:
        with pytest.raises(ChildError, match="it is broken") as caught:
            places[0].call("place_tasks:refuse", {"kind": "runtime"})
        assert (caught.value.stage, caught.value.killed) == ("load", False)
        told = caught.value.told
        assert type(told) is MeasurementError
        assert str(told) == "it is broken (stage: load)"
        with pytest.raises(ChildError, match="too wide") as caught:
            places[0].call("place_tasks:refuse", {"kind": "shape"})
        assert type(caught.value.told) is UnsupportedShapeError

    def test_what_fails_by_itself_would_fail_again(self, places: Sequence[Place]) -> None:
        with pytest.raises(ChildError, match="nobody expected this") as caught:
            places[0].call("place_tasks:fail", {})
        assert not caught.value.killed
        assert caught.value.told is caught.value

    def test_a_killed_process_is_told_and_the_place_goes_on(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        document = {"counter": str(tmp_path / "counter"), "times": 1, "number": 7}
        with pytest.raises(ChildError) as caught:
            places[0].call("place_tasks:die", document)
        assert caught.value.killed
        assert places[0].call("place_tasks:die", document) == {"number": 7}

    def test_files_are_there_and_a_folder_is_as_the_task_left_it(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        text, folder = tmp_path / "text.txt", tmp_path / "trunk" / "states"
        text.write_text("words")
        for before in ([], ["1.bin"], ["2.bin"]):
            answer = places[0].call(
                "place_tasks:work_in_folder", {}, files={"text": text}, folders={"folder": folder}
            )
            assert (answer["text"], answer["name"]) == ("words", "text.txt")
            assert answer["before"] == before
            names = sorted(p.name for p in folder.iterdir())
            assert names == ["2.bin" if before == ["1.bin"] else names[0]]
            assert (folder / names[0]).read_bytes() == bytes(range(256)) * 10

    def test_jobs_of_killed_processes_are_done_once(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        done: list[int] = []

        def act(place: Place, number: int) -> None:
            document = {
                "counter": str(tmp_path / str(number)), "times": int(number == 1), "number": number,
            }  # fmt: skip
            done.append(place.call("place_tasks:die", document)["number"])

        share(places, range(4), act, on_lost=lambda *_: pytest.fail("no place is lost"))
        assert sorted(done) == [0, 1, 2, 3]

    def test_a_job_that_ends_every_process_is_given_up_and_the_others_are_done(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        done: list[int] = []
        given_up: list[tuple[int, str]] = []

        def act(place: Place, number: int) -> None:
            times = 99 if number == 1 else 0
            document = {"counter": str(tmp_path / str(number)), "times": times, "number": number}
            done.append(place.call("place_tasks:die", document)["number"])

        share(
            places, range(3), act, on_lost=lambda *_: pytest.fail("no place is lost"),
            on_given_up=lambda number, error: given_up.append((number, str(error))),
        )  # fmt: skip
        assert sorted(done) == [0, 2]
        ((number, message),) = given_up
        assert number == 1
        assert f"must not end its process or lose its worker {MOST_TRIES} times" in message
        assert len((tmp_path / "1").read_text()) == MOST_TRIES

    def test_one_call_is_tried_again(self, places: Sequence[Place], tmp_path: Path) -> None:
        document = {"counter": str(tmp_path / "counter"), "times": 1, "number": 3}
        assert retried(lambda: places[1].call("place_tasks:die", document)) == {"number": 3}

    def test_a_place_that_is_stopped_ends_what_is_under_way(
        self, places: Sequence[Place], tmp_path: Path
    ) -> None:
        begun = tmp_path / "begun"
        ended: list[BaseException] = []

        def ask() -> None:
            try:
                places[1].call("place_tasks:sleep", {"begun": str(begun)})
            except ChildError as error:
                ended.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(400):
            if begun.exists():
                break
            time.sleep(0.05)
        assert begun.exists()
        places[1].stop()
        thread.join(10)
        assert len(ended) == 1
        with pytest.raises(ChildError, match="stopped"):
            places[1].call("place_tasks:echo", {})
