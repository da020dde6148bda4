"""The embedded text and its tokens.

233 State of the Union addresses (see ``data/sotu.LICENSE``), every 12th held out for validation.
"""

import hashlib
import lzma
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from phonelm_search.errors import TrainingError

SEPARATOR = "<|endoftext|>"
LZMA_BITS_PER_BYTE = 2.18
"""What lzma (preset 6) reaches on the validation text; a test recomputes it."""
_EVERY, _OFFSET = 12, 5


def load_documents() -> tuple[list[str], list[str]]:
    """The embedded corpus: training and validation documents, in order of time."""
    packed = resources.files("phonelm_search.proxy").joinpath("data/sotu.txt.xz").read_bytes()
    documents = lzma.decompress(packed).decode("utf-8").split("\x1e")
    held_out = set(range(_OFFSET, len(documents), _EVERY))
    train = [d for i, d in enumerate(documents) if i not in held_out]
    return train, [documents[i] for i in sorted(held_out)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedCorpus:
    """Token ids of a corpus and the text bytes that each id stands for."""

    train: npt.NDArray[np.uint16]
    """Training tokens, documents separated by id 0."""
    validation: npt.NDArray[np.uint16]
    """Validation tokens, likewise."""
    token_bytes: npt.NDArray[np.int64]
    """UTF-8 bytes of each token id [vocab_size]; 0 for the separator."""
    digest: str
    """Identifies text, split and tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return len(self.token_bytes)


def train_tokenizer(documents: list[str], vocab_size: int) -> Any:
    """A byte-level BPE trained on documents; id 0 separates documents.

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
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def token_bytes(tokenizer: Any) -> npt.NDArray[np.int64]:
    """UTF-8 bytes that each token id stands for; in byte-level BPE a character is a byte."""
    size = tokenizer.get_vocab_size()
    return np.array([0] + [len(tokenizer.id_to_token(i)) for i in range(1, size)], np.int64)


def tokenise(vocab_size: int, cache: Path) -> TokenisedCorpus:
    """Tokenise the embedded corpus, or read it from a cache folder.

    Args:
        vocab_size: Size of the BPE vocabulary.
        cache: Folder of token files; made when missing.

    Raises:
        TrainingError: If the vocabulary is impossible or the cache cannot be written.
    """
    train, validation = load_documents()
    text = "\x1e".join([*train, "\x1d", *validation]).encode()
    digest = hashlib.sha256(text + f"|bpe{vocab_size}|1".encode()).hexdigest()[:12]
    file = cache / f"tokens-{digest}.npz"
    if not file.exists():
        tokenizer = train_tokenizer(train, vocab_size)
        arrays: dict[str, npt.NDArray[Any]] = {
            "train": _encode(tokenizer, train),
            "validation": _encode(tokenizer, validation),
            "token_bytes": token_bytes(tokenizer),
        }
        partial = file.with_suffix(".part.npz")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            np.savez(
                partial,
                allow_pickle=False,
                train=arrays["train"],
                validation=arrays["validation"],
                token_bytes=arrays["token_bytes"],
            )
            partial.replace(file)
        except OSError as error:
            raise TrainingError(
                f"the token cache {cache} must be writable: {error.strerror}"
            ) from error
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
                digest=file.stem.removeprefix("tokens-"),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"the token file {file} is damaged; remove it and run again") from error


def tokens_file(cache: Path, corpus: TokenisedCorpus) -> Path:
    """Where `tokenise` keeps a corpus."""
    return cache / f"tokens-{corpus.digest}.npz"


def _encode(tokenizer: Any, documents: list[str]) -> npt.NDArray[np.uint16]:
    parts = []
    for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
        parts += [np.zeros(1, np.uint16), np.asarray(encoding.ids, np.uint16)]
    return np.concatenate(parts)
