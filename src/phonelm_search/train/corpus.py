"""Text as tokens, made once and cached."""

import hashlib
import lzma
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from phonelm_search.core.errors import TrainingError, unwritable
from phonelm_search.train.text import Text
from phonelm_search.train.textfile import SEPARATOR
from phonelm_search.work import file_under_way

_TAKEN = 50_000, 100_000
"""Characters that the tokenizer takes at once, and at most: it needs their memory 100 times."""
_LEARNING = 1_000, 2_000
"""The same where a vocabulary is learnt: merging letters takes the square of a word's length."""
_BATCH = 1_000_000
_LEARNT = 10_000_000
"""Characters that a vocabulary is learnt from; of more text, portions all over it."""
_WORD = re.compile(r"(?<=\S) (?=\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedCorpus:
    """Token ids of a corpus and the text bytes that each id stands for."""

    train: npt.NDArray[np.uint16]
    """Training tokens, documents separated by id 0."""
    validation: npt.NDArray[np.uint16]
    """Validation tokens, likewise."""
    token_bytes: npt.NDArray[np.int64]
    """UTF-8 bytes of each token id [vocab_size]; 0 for the separator."""
    lzma_bits_per_byte: float
    """What lzma (preset 6) reaches on the whole validation text: a model that learned something is
    below it."""
    digest: str
    """Identifies text, split and tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return len(self.token_bytes)


def train_tokenizer(documents: Sequence[str], vocab_size: int) -> Any:
    """A byte-level BPE trained on documents; id 0 separates documents.

    Of a large text it sees portions all over it: each letter of a word that occurs once, as all
    are where a language has no spaces, takes memory, and time at every merge.

    Raises:
        TrainingError: If the vocabulary is too small for all bytes or too large for 16 bits.
    """
    if not 257 <= vocab_size <= 65536:
        raise TrainingError(
            f"the proxy's vocabulary must hold 257 to 65536 tokens, got {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[SEPARATOR],
        show_progress=False,
    )
    portions = (p for d in documents for p in _portions(d, *_LEARNING))
    tokenizer.train_from_iterator(islice(portions, 0, None, _stride(documents)), trainer)
    return tokenizer


def _stride(documents: Sequence[str]) -> int:
    """A vocabulary is learnt from every so many-th portion."""
    return max(1, -(-sum(map(len, documents)) // _LEARNT))


def token_bytes(tokenizer: Any) -> npt.NDArray[np.int64]:
    """UTF-8 bytes that each token id stands for; in byte-level BPE a character is a byte."""
    size = tokenizer.get_vocab_size()
    return np.array([0] + [len(tokenizer.id_to_token(i)) for i in range(1, size)], np.int64)


def tokenise(text: Text, vocab_size: int, cache: Path) -> TokenisedCorpus:
    """Tokenise a text, or read it from a cache folder.

    Args:
        text: Documents.
        vocab_size: Size of the BPE vocabulary, which is trained on the training documents.
        cache: Folder of token files; made when missing.

    Raises:
        TrainingError: If the vocabulary is impossible or the cache cannot be written.
    """
    digest = _digest(text, vocab_size)
    file = cache / f"tokens-{digest}.npz"
    if not file.exists():
        tokenizer = train_tokenizer(text.train, vocab_size)
        held_out = "\n\n".join(text.validation).encode()
        train, validation = _encode(tokenizer, text.train), _encode(tokenizer, text.validation)
        compressed = len(lzma.compress(held_out))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with file_under_way(file) as part, part.open("wb") as stream:
                np.savez(
                    stream,
                    allow_pickle=False,
                    train=train,
                    validation=validation,
                    token_bytes=token_bytes(tokenizer),
                    lzma=np.float64(8 * compressed / len(held_out)),
                )
        except OSError as error:
            raise TrainingError(unwritable(f"the token cache {cache}", error)) from error
    return load_tokens(file)


def load_tokens(file: Path) -> TokenisedCorpus:
    """Read a token file that `tokenise` wrote.

    Raises:
        TrainingError: If it is damaged; removing it makes it anew.
    """
    try:
        with np.load(file, allow_pickle=False) as data:
            return TokenisedCorpus(
                train=data["train"],
                validation=data["validation"],
                token_bytes=data["token_bytes"],
                lzma_bits_per_byte=float(data["lzma"]),
                digest=file.stem.removeprefix("tokens-"),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"the token file {file} is damaged; remove it and run again") from error


def tokens_file(cache: Path, corpus: TokenisedCorpus) -> Path:
    """Where `tokenise` keeps a corpus."""
    return cache / f"tokens-{corpus.digest}.npz"


def _digest(text: Text, vocab_size: int) -> str:
    """Of the text and its split, read a document at a time."""
    digest = hashlib.sha256()
    for document in text.train:
        digest.update(document.encode())
        digest.update(b"\x1e")
    digest.update(b"\x1d")
    for document in text.validation:
        digest.update(b"\x1e")
        digest.update(document.encode())
    digest.update(f"|bpe{vocab_size}|2".encode())
    if (stride := _stride(text.train)) > 1:
        digest.update(f"|{stride}".encode())
    return digest.hexdigest()[:12]


def _encode(tokenizer: Any, documents: Sequence[str]) -> npt.NDArray[np.uint16]:
    parts = []
    for batch in _batches(documents):
        texts = [portion for portion, _ in batch]
        ids: list[int] = []
        for encoding, (_, first) in zip(
            tokenizer.encode_batch_fast(texts, add_special_tokens=False), batch, strict=True
        ):
            ids += [0, *encoding.ids] if first else encoding.ids
        parts.append(np.asarray(ids, np.uint16))
    return np.concatenate(parts)


def _batches(documents: Sequence[str]) -> Iterator[list[tuple[str, bool]]]:
    """Portions, and whether one begins its document, about a million characters at a time."""
    batch: list[tuple[str, bool]] = []
    size = 0
    for document in documents:
        first = True
        for portion in _portions(document, *_TAKEN):
            batch.append((portion, first))
            first = False
            size += len(portion) + 1
            if size > _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _portions(document: str, usual: int, most: int) -> Iterator[str]:
    """A document cut where its tokens stay the same, or anywhere if no such place is near.

    No token of a byte-level BPE reaches over the beginning of a word with one space before it.
    """
    begin = 0
    while len(document) - begin > usual:
        found = _WORD.search(document, begin + usual, begin + most)
        end = found.start() if found else begin + most
        yield document[begin:end]
        begin = end
    if begin < len(document) or not document:
        yield document[begin:]
