"""Text and tokens: where they come from, and that bytes are counted right."""

import json
import lzma
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.errors import TrainingError
from phonelm_search.train import TokenisedCorpus, tokenise
from phonelm_search.train import text as x
from phonelm_search.train.corpus import load_tokens, train_tokenizer

pytestmark = pytest.mark.xdist_group("text")  # tokenised once


@pytest.fixture(scope="module")
def corpus(text: x.Text, cache: Path) -> TokenisedCorpus:
    """A sixth of the embedded text's documents, all of its validation."""
    return tokenise(replace(text, train=text.train[::6]), 512, cache)


def test_the_embedded_corpus_is_whole_and_split_by_document(text: x.Text) -> None:
    assert (len(text.train), len(text.validation)) == (214, 19)
    assert sum(len(d.encode()) for d in (*text.train, *text.validation)) == 10_761_413
    assert not set(text.train) & set(text.validation)


def test_lzma_on_the_validation_text_stands_beside_every_score(
    text: x.Text, corpus: TokenisedCorpus
) -> None:
    held_out = "\n\n".join(text.validation).encode()
    assert corpus.lzma_bits_per_byte == 8 * len(lzma.compress(held_out)) / len(held_out)
    assert round(corpus.lzma_bits_per_byte, 2) == 2.18


def test_tokens_stand_for_exactly_the_texts_bytes(
    text: x.Text, corpus: TokenisedCorpus, cache: Path
) -> None:
    assert corpus.vocab_size == 512
    for ids, documents in ((corpus.train, text.train[::6]), (corpus.validation, text.validation)):
        assert corpus.token_bytes[ids].sum() == sum(len(d.encode()) for d in documents)
        assert (ids == 0).sum() == len(documents)
    assert tokenise(replace(text, train=text.train[::6]), 512, cache).digest == corpus.digest


def test_a_damaged_token_file_is_named(
    tmp_path: Path, cache: Path, corpus: TokenisedCorpus
) -> None:
    file = tmp_path / "tokens-x.npz"
    whole = (cache / f"tokens-{corpus.digest}.npz").read_bytes()
    for content in (b"junk", b"", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(TrainingError, match=r"tokens-x.npz is damaged; remove it"):
            load_tokens(file)
    with pytest.raises(TrainingError, match="257 to 65536"):
        train_tokenizer(["x"], 100)


def words(count: int, seed: int = 0) -> str:
    picked = np.random.default_rng(seed).integers(0, 5000, count)
    return " ".join(f"word{n}" for n in picked)


def test_a_folder_is_read_file_by_file_and_lines_of_json(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    (folder / "deep").mkdir(parents=True)
    for i in range(20):
        (folder / f"{i:02d}.txt").write_text(words(1500, i))
    lines = [json.dumps({"text": words(500, 100 + i), "id": i}) for i in range(10)]
    (folder / "deep" / "more.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    found = x.load_text([str(folder)])
    assert len(found.train) + len(found.validation) == 30
    assert found.notes == ()
    assert not set(found.train) & set(found.validation)
    assert found.name == str(folder)


def test_one_file_is_split_at_separators_or_at_blank_lines(tmp_path: Path) -> None:
    marked, plain = tmp_path / "marked.txt", tmp_path / "plain.txt"
    marked.write_text(x.SEPARATOR.join(words(1000, i) for i in range(40)))
    plain.write_text("\n\n".join(words(100, i) for i in range(400)))
    assert len(x.load_text([str(marked)]).validation) == 3
    cut = x.load_text([str(plain)])
    assert 24 <= len(cut.train) + len(cut.validation) <= 50
    assert "cut at blank lines" in cut.notes[0]
    parts = sorted(len(d) for d in (*cut.train, *cut.validation))
    assert parts[0] > 0.2 * parts[-1]


@settings(max_examples=30)
@given(st.lists(st.text("ab \n", min_size=1, max_size=30), min_size=1, max_size=60))
def test_pieces_lose_no_paragraph(documents: list[str]) -> None:
    def paragraphs(parts: Iterable[str]) -> list[str]:
        return [p.strip() for part in parts for p in part.split("\n\n") if p.strip()]

    assert paragraphs(x._pieces(documents)) == paragraphs(documents)


def test_text_that_cannot_be_used_is_refused_with_the_remedy(tmp_path: Path) -> None:
    cases: dict[str, tuple[bytes | None, str]] = {
        "nowhere.txt": (None, "there is no .*nowhere.txt"),
        "latin.txt": ("ä".encode("latin-1") * 900, "latin.txt must hold UTF-8"),
        "broken.jsonl": (b'{"text": "a"}\n{"text"\n', 'broken.jsonl must hold JSON objects with'),
        "number.jsonl": (b'{"text": 5}\n', '"text" is int'),
        "other.jsonl": (b'{"content": "a"}\n', "must hold JSON objects"),
        "short.txt": (b"hello", "at least 200,000 bytes and 24 documents .*give more with --data"),
    }  # fmt: skip
    for name, (content, message) in cases.items():
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(TrainingError, match=message):
            x.load_text([str(file)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=r"must hold .txt, .text, .md, .jsonl files"):
        x.load_text([str(tmp_path / "empty")])


def test_a_large_text_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x, "MOST_BYTES", 300_000)
    file = tmp_path / "large.txt"
    file.write_text(x.SEPARATOR.join(words(1000, i) for i in range(80)))
    found = x.load_text([str(file)])
    size = sum(len(d) for d in (*found.train, *found.validation))
    assert 300_000 < size < 320_000
    assert found.notes == ("only the first 0 MB of the text are used",)


def test_a_named_dataset_is_read_by_its_package(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    lines = [json.dumps({"text": words(1000, i)}) for i in range(40)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    found = x.load_text([f"hf:{folder}"])
    assert len(found.train) == 37
    (folder / "train.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(TrainingError, match='a train split and a column "text"'):
        x.load_text([f"hf:{folder}"])


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
        x.load_text(["hf:some/set"])
