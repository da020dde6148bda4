"""Datasets that the datasets package reads, of folders in place of the Hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from phonelm_search.core.errors import TrainingError
from phonelm_search.train.hub import dataset_documents


def rows(file: Path, key: str = "text", word: str = "a") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({key: f"{word}{i}"}) + "\n" for i in range(3)))


def read(name: object) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    return list(dataset_documents(str(name), note=notes.append)), notes


def test_a_named_dataset_is_read_by_its_package(tmp_path: Path) -> None:
    rows(tmp_path / "set" / "train.jsonl")
    assert read(tmp_path / "set") == (["a0", "a1", "a2"], [])
    rows(tmp_path / "body" / "train.jsonl", key="content")
    texts, notes = read(tmp_path / "body")
    assert texts == ["a0", "a1", "a2"]
    assert 'its column "content" is trained on' in notes[0]
    rows(tmp_path / "other" / "train.jsonl", key="other")
    with pytest.raises(
        TrainingError, match=r'a train split and a column "text" .*: its columns are other'
    ):
        read(tmp_path / "other")


def test_of_several_configurations_one_is_named_or_all_are_listed(tmp_path: Path) -> None:
    lines = ["---", "configs:"]
    for config in ("en", "fr"):
        rows(tmp_path / "set" / config / "train.jsonl", word=config)
        lines += [f"- config_name: {config}", f'  data_files: "{config}/*.jsonl"']
    (tmp_path / "set" / "README.md").write_text("\n".join([*lines, "---", ""]))
    assert read(f"{tmp_path}/set:fr")[0] == ["fr0", "fr1", "fr2"]
    for config, got in (("", "none is named"), (":de", "there is no de")):
        with pytest.raises(TrainingError, match=f"ions, en, fr, {got}; give hf:.*/set:en"):
            read(f"{tmp_path}/set{config}")


@pytest.mark.parametrize("name", ["", ":", ":en"])
def test_a_dataset_has_a_name(name: str) -> None:
    with pytest.raises(TrainingError, match="must name a dataset as hf:NAME"):
        read(name)


def test_without_the_package_a_named_dataset_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import builtins

    plain = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TrainingError, match=r"pip install 'phonelm-search\[hf\]'"):
        read("some/set")
