"""What `profile` calls the models of files."""

import json
from pathlib import Path

import pytest

from phonelm_search.stages.profile import find_shape
from phonelm_search.store import Store

CONFIG = json.dumps(
    {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
     "num_attention_heads": 4, "vocab_size": 96}
)  # fmt: skip


def placed(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    return folder


def name_of(text: Path | str) -> str | None:
    return find_shape(Store(Path("results")), str(text))[0]


def test_folders_keep_their_dots_and_cached_models_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = placed(tmp_path / "Qwen2.5-0.5B")
    snapshot = tmp_path / "hub/models--Org--a--b/snapshots/c1899de2"
    blob = tmp_path / "hub/models--Org--a--b/blobs/0123"
    blob.parent.mkdir(parents=True)
    blob.write_text(CONFIG)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    (tmp_path / "own.v2.json").write_text(CONFIG)
    (tmp_path / "latest").symlink_to("Qwen2.5-0.5B")
    placed(tmp_path / "odd.json")
    assert name_of("Qwen2.5-0.5B") == name_of("Qwen2.5-0.5B/") == "Qwen2.5-0.5B"
    assert name_of("Qwen2.5-0.5B/config.json") == "Qwen2.5-0.5B"
    assert name_of(snapshot) == name_of(snapshot / "config.json") == "Org/a--b"
    assert (name_of("own.v2.json"), name_of("latest")) == ("own.v2", "latest")
    assert name_of("odd.json") == "odd.json"
    monkeypatch.chdir(folder)
    assert name_of(".") == name_of("config.json") == name_of("./config.json") == "Qwen2.5-0.5B"
