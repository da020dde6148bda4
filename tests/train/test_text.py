"""Text and tokens: where they come from, and that bytes are counted right."""

import json
import lzma
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phonelm_search.core.errors import TrainingError
from phonelm_search.train import TokenisedCorpus, tokenise
from phonelm_search.train import corpus as corpus_module
from phonelm_search.train import text as x
from phonelm_search.train.corpus import load_tokens, train_tokenizer
from phonelm_search.train.textfile import SEPARATOR

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
    marked.write_text(SEPARATOR.join(words(1000, i) for i in range(40)))
    plain.write_text("\n\n".join(words(100, i) for i in range(400)))
    assert len(x.load_text([str(marked)]).validation) == 3
    cut = x.load_text([str(plain)])
    assert 24 <= len(cut.train) + len(cut.validation) <= 50
    assert "cut at blank lines" in cut.notes[0]
    parts = sorted(len(d) for d in (*cut.train, *cut.validation))
    assert parts[0] > 0.2 * parts[-1]


def test_text_that_is_too_small_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    for content in ("hello", "", " \n"):
        file.write_text(content)
        with pytest.raises(TrainingError, match=r"200,000 bytes, .* has .; give more with --data"):
            x.load_text([str(file)])
    file.write_text("x" + " " * 300_000)
    with pytest.raises(TrainingError, match=r"held-out text, every 12th document of .*short.txt"):
        x.load_text([str(file)])
    for empty in ("", " "):
        with pytest.raises(TrainingError, match=r"got an empty name; leave --data out"):
            x.load_text([str(file), empty])


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("".join(f" \n = T {i} = \n \n {'word ' * 900}. \n\t\n" for i in range(60)), "blank lines"),
        ("\r\n".join("a sentence of it" for _ in range(20_000)), "line ends"),
        ("word " * 100_000, "spaces"),
        ("\u6587" * 200_000, "any place"),
        (SEPARATOR.join(["short"] * 40 + ["word " * 80_000]), "blank lines|spaces"),
    ],
    ids=["WikiText", "lines", "text8", "no spaces", "uneven"],
)
def test_whatever_a_text_has_for_breaks_it_is_cut_there(
    tmp_path: Path, content: str, place: str
) -> None:
    file = tmp_path / "text8"
    file.write_bytes(content.encode())
    found = x.load_text([str(file)])
    assert re.search(f"the text was cut at ({place}) into [0-9]+$", found.notes[0])
    held_out = sum(len(d.encode()) for d in found.validation)
    assert 24 <= len(found.train) + len(found.validation) <= 100
    assert 10_000 <= held_out < 0.2 * len(content.encode())


def test_a_large_text_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x, "MOST_BYTES", 300_000)
    file = tmp_path / "large.txt"
    file.write_text(SEPARATOR.join(words(1000, i) for i in range(80)))
    found = x.load_text([str(file)])
    size = sum(len(d) for d in (*found.train, *found.validation))
    assert 300_000 < size < 320_000
    assert found.notes == ("only the first 0 MB of the text are used",)


def test_letters_without_a_space_are_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    document = words(3000).replace(" ", "")
    tokenizer = train_tokenizer([document], 400)
    monkeypatch.setattr(corpus_module, "_TAKEN", (50, 100))
    portions = list(corpus_module._portions(document, 50, 100))
    assert "".join(portions) == document
    assert {len(p) for p in portions[:-1]} == {100}
    ids = corpus_module._encode(tokenizer, [document])
    assert tokenizer.decode(ids[1:].tolist()) == document


def test_of_a_large_text_the_vocabulary_is_learnt_from_portions_all_over_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(corpus_module, "_LEARNING", (50, 100))
    begin, end = (f"{word} " * 1000 for word in ("abcdefgh", "stuvwxyz"))
    small = x.Text(name="small", train=("ab" * 2000,), validation=("x",))
    large = x.Text(name="large", train=(begin, end), validation=("x",))
    whole = [tokenise(text, 300, tmp_path).digest for text in (small, large)]
    monkeypatch.setattr(corpus_module, "_LEARNT", 4000)
    learnt = train_tokenizer(large.train, 300).get_vocab()
    assert {"abcdefgh", "stuvwxyz"} <= {token.removeprefix("\u0120") for token in learnt}
    assert tokenise(small, 300, tmp_path).digest == whole[0]
    assert tokenise(large, 300, tmp_path).digest != whole[1]


def test_a_long_document_is_tokenised_in_portions_of_the_same_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = words(3000).replace("word1", " \u00e9's  \n").replace("word2", "\u3000.. ")
    tokenizer = train_tokenizer([document], 400)
    whole = [0, *tokenizer.encode(document, add_special_tokens=False).ids]
    monkeypatch.setattr(corpus_module, "_TAKEN", (50, 10**9))
    portions = list(corpus_module._portions(document, 50, 10**9))
    assert len(portions) > 100
    assert "".join(portions) == document
    assert corpus_module._encode(tokenizer, [document, "", document]).tolist() == [
        *whole, 0, *whole
    ]  # fmt: skip
    monkeypatch.setattr(corpus_module, "_LEARNING", (50, 10**9))
    assert train_tokenizer([document], 400).get_vocab() == tokenizer.get_vocab()
