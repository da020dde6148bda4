"""From names to files: links, loops, what is no file, and folders of all kinds."""

import os
from pathlib import Path

import pytest

from phonelm_search.core.errors import TrainingError
from phonelm_search.train.sources import Sources


def names(*sources: object) -> tuple[list[str], list[str]]:
    """Files of names, and notes."""
    notes: list[str] = []
    reader = Sources(notes.append)
    return [str(f) for s in sources for f in reader.files(str(s))], notes


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text/b.txt", "text/deep/a.JSONL", "text/deep/c.md.gz", "text/d.png", "up.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")


def test_a_folder_is_read_with_all_that_is_linked_into_it() -> None:
    Path("set").mkdir()
    Path("set/train").symlink_to("../text")
    Path("set/one.txt").symlink_to("../up.txt")
    assert names("set")[0] == [
        "set/one.txt", "set/train/b.txt", "set/train/deep/a.JSONL", "set/train/deep/c.md.gz"
    ]  # fmt: skip


def test_links_that_lead_back_end_and_what_is_named_twice_is_read_once() -> None:
    Path("text/self").symlink_to(".")
    Path("text/above").symlink_to("..")
    Path("text/deep/back").symlink_to("..")
    files = ["text/b.txt", "text/deep/a.JSONL", "text/deep/c.md.gz"]
    assert names("text") == (files, [])
    assert names("text/b.txt", "text", "text/b.txt") == (
        files,
        [f"named twice and read once: 1 file of {n}" for n in ("text", "text/b.txt")],
    )


def test_what_cannot_be_read_in_a_folder_is_left_out_and_said() -> None:
    Path("text/gone.txt").symlink_to("nowhere")
    Path("text/loop.txt").symlink_to("loop.txt")
    os.mkfifo("text/pipe.txt")
    Path("text/._b.txt").write_bytes(b"\0")
    Path("text/__MACOSX").mkdir()
    Path("text/__MACOSX/b.txt").write_bytes(b"\0")
    files, notes = names("text")
    assert len(files) == 3
    assert sorted(n.split()[2] for n in notes) == [
        "text/gone.txt", "text/loop.txt", "text/pipe.txt"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.txt", "there is no nowhere.txt; a dataset of the Hugging Face Hub is hf:NAME"),
        ("up.txt/x", "there is no up.txt/x"),
        ("a\0b", "there is no a"),
        ("https://x.org/y.txt", "there is no https://x.org/y.txt; download it first"),
        ("~/text", "there is no ~/text; write the home folder out"),
        ("*.txt", r"there is no \*.txt; give the folder, or repeat --data"),
        ("gone", "gone is a link to nowhere, which is missing"),
        ("loop", "loop is a link that leads back to itself"),
        ("pipe", "pipe is a pipe; save the text to a file first"),
        ("/dev/zero", "/dev/zero is a device; save the text to a file first"),
        ("x" * 5000, "must name readable files, x{200}…: File name too long"),
        ("pictures", r"pictures holds none but .png; if that is text, name each such file"),
        ("tables", "tables holds none but .parquet; give it as hf:FOLDER"),
        ("empty", "empty holds none; it is empty: put text there"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(source: str, message: str) -> None:
    Path("gone").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    for folder, file in (("pictures", "a.png"), ("tables", "a.parquet")):
        Path(folder).mkdir()
        Path(folder, file).touch()
    Path("empty").mkdir()
    with pytest.raises(TrainingError, match=message) as raised:
        names(source)
    assert len(str(raised.value)) < 1000


def test_a_folder_of_many_small_files_is_read_in_order() -> None:
    Path("many").mkdir()
    expected = [f"many/{i:04d}.txt" for i in range(2000)]
    for name in reversed(expected):
        Path(name).touch()
    assert names("many") == (expected, [])
