"""Files under way: gone when they are finished, and swept where their maker was killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phonelm_search.work import (
    file_under_way,
    folder_under_way,
    machine_held,
    sweep,
    sweep_temporary,
    temporary_folder,
)

MAKING = """
import sys
from pathlib import Path
from phonelm_search.work import file_under_way, folder_under_way, machine_held
folder = Path(sys.argv[1])
with folder_under_way(".handing-off-", folder) as made, file_under_way(folder / "t.npz") as part:
    (made / "model").write_text("x")
    part.write_text("half")
    if len(sys.argv) > 2:
        import phonelm_search.work.machine as machine
        machine.LOCK = folder / "lock"
    with machine_held("study other", note=print):
        print("made", flush=True)
        sys.stdin.read()
"""


@contextmanager
def another(folder: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that has files of all kinds under way."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKING, str(folder), "lock", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(p.name.split("-")[0] for p in folder.iterdir() if p.name != "lock")


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_uses_is_not(
    tmp_path: Path,
) -> None:
    with another(tmp_path):
        sweep(tmp_path, ".*")
        with folder_under_way(".handing-off-", tmp_path), file_under_way(tmp_path / "u") as part:
            part.write_text("whole")
        assert len(names(tmp_path)) == 3  # the other's folder and file, and this one's file
    with folder_under_way(".handing-off-", tmp_path) as mine:
        assert list(tmp_path.glob(".handing-off-*")) == [mine]
    with file_under_way(tmp_path / "t.npz") as part:
        part.write_text("whole")
    assert names(tmp_path) == ["t.npz", "u"]
    assert (tmp_path / "t.npz").read_text() == "whole"


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("earlier")

    def write(error: BaseException) -> None:
        with file_under_way(target) as part:
            part.write_text("ha")
            raise error

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt())
    assert target.read_text() == "earlier"
    assert names(tmp_path) == ["report.html"]
    with pytest.raises(OSError, match="gone") as caught:
        write(OSError(28, "gone"))
    assert caught.value.filename == str(target)  # the system names none where a write fails


def test_nobody_elses_temporary_files_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours, theirs = "phonelm-job-abcd_123", ("phonelm-results", "phonelm-job-mine", "tmpabcd1234")
    for name in (ours, *theirs):
        (tmp_path / name).mkdir()
    sweep_temporary()
    assert {p.name for p in tmp_path.iterdir()} == set(theirs)
    assert temporary_folder() == tmp_path


def test_who_measures_second_is_told_for_whom_it_waits_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.work.machine.LOCK", tmp_path / "lock")
    notes: list[str] = []

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with another(tmp_path) as other:
        with monkeypatch.context() as patch:
            patch.setattr("time.sleep", stop)
            with pytest.raises(KeyboardInterrupt), machine_held("mine", note=notes.append):
                pass
        assert notes == [
            f"process {other.pid} (study other) measures on this machine; waiting until it has "
            "finished, Ctrl-C stops"
        ]

        def end(seconds: float) -> None:
            other.kill()
            other.wait()

        with monkeypatch.context() as patch:
            patch.setattr("time.sleep", end)
            with machine_held("mine", note=notes.append):
                assert len(notes) == 2
    with machine_held("mine", note=notes.append), machine_held("mine, within", note=notes.append):
        assert len(notes) == 2


def test_a_machine_without_a_place_for_the_lock_lets_everybody_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.work.machine.LOCK", tmp_path / "nowhere" / "lock")
    with machine_held("mine", note=print):
        assert list(tmp_path.iterdir()) == []
