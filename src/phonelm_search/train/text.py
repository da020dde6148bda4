"""The text that is trained on: the embedded corpus, or what a person names, split once."""

import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from phonelm_search.core.errors import TrainingError
from phonelm_search.train.hub import dataset_documents
from phonelm_search.train.messages import shortened
from phonelm_search.train.pieces import ways_to_cut
from phonelm_search.train.sources import DATASET, Sources
from phonelm_search.train.textfile import documents_of

EMBEDDED = "embedded"
_EVERY, _OFFSET = 12, 5
_LEAST_DOCUMENTS = 24
_LEAST_BYTES = 200_000
_LEAST_HELD_OUT = 10_000
_MOST_HELD_OUT = 0.5
MOST_BYTES = 500_000_000
"""What is read of a larger text; a proxy's horizon needs less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Documents, split into training and validation."""

    name: str
    """Where they come from, as it was asked for."""
    train: tuple[str, ...]
    """Training documents."""
    validation: tuple[str, ...]
    """Every 12th document, held out."""
    notes: tuple[str, ...] = ()
    """What was done to them."""


def load_text(sources: Sequence[str] = ()) -> Text:
    """Read and split documents, of a large text no more than `MOST_BYTES`.

    Args:
        sources: Text files, folders of them, or ``hf:NAME`` or ``hf:NAME:CONFIG`` for a dataset of
            the Hugging Face Hub, downloaded by the ``datasets`` package; nothing means the embedded
            corpus, 233 State of the Union addresses (see ``data/sotu.LICENSE``).

    Raises:
        TrainingError: If a source is missing, unreadable or too small.
    """
    if not sources:
        return _split(EMBEDDED, _embedded(), ())
    if not all(s.strip() for s in sources):
        raise TrainingError(
            f"--data must name text files, a folder or {DATASET}NAME, got an empty name; leave "
            "--data out to train on the embedded text"
        )
    name = ", ".join(sources)
    notes: list[str] = []
    documents, size = _limited(_read(sources, notes), notes)
    if size < _LEAST_BYTES:
        raise TrainingError(
            f"the text must have at least {_LEAST_BYTES:,} bytes, {shortened(name)} has {size:,}; "
            "give more with --data"
        )
    if not _can_be_split(documents):
        count = len(documents)
        ways = ((p, pieces) for p, pieces in ways_to_cut(documents) if _can_be_split(pieces))
        place, documents = next(ways, ("", []))
        if not documents:
            raise TrainingError(
                f"the held-out text, every {_EVERY}th document of {shortened(name)}, must have at "
                f"least {_LEAST_HELD_OUT:,} bytes; give more or longer documents"
            )
        notes.append(
            f"too few or too uneven documents ({count}): the text was cut at {place} into "
            f"{len(documents)}"
        )
    return _split(name, documents, tuple(notes))


def _embedded() -> list[str]:
    packed = resources.files("phonelm_search.train").joinpath("data/sotu.txt.xz").read_bytes()
    return lzma.decompress(packed).decode("utf-8").split("\x1e")


def _split(name: str, documents: Sequence[str], notes: tuple[str, ...]) -> Text:
    held_out = range(_OFFSET, len(documents), _EVERY)
    return Text(
        name=name,
        train=tuple(d for i, d in enumerate(documents) if i not in held_out),
        validation=tuple(documents[i] for i in held_out),
        notes=notes,
    )


def _can_be_split(documents: Sequence[str]) -> bool:
    """Whether there are enough of them, and those that are held out say enough, and not most."""
    held_out = sum(map(_bytes, documents[_OFFSET::_EVERY]))
    return (
        len(documents) >= _LEAST_DOCUMENTS
        and held_out >= _LEAST_HELD_OUT
        and held_out <= _MOST_HELD_OUT * sum(map(_bytes, documents))
    )


def _bytes(document: str) -> int:
    return len(document) if document.isascii() else len(document.encode())


def _read(sources: Sequence[str], notes: list[str]) -> Iterator[str]:
    files = Sources(notes.append)
    for source in sources:
        if source.startswith(DATASET):
            yield from dataset_documents(source.removeprefix(DATASET), note=notes.append)
            continue
        for file in files.files(source):
            yield from documents_of(file, most=MOST_BYTES, note=notes.append)


def _limited(documents: Iterable[str], notes: list[str]) -> tuple[list[str], int]:
    kept: list[str] = []
    size = 0
    for document in documents:
        if document.strip():
            kept.append(document)
            size += _bytes(document)
            if size > MOST_BYTES:
                notes.append(f"only the first {size / 1e6:.0f} MB of the text are used")
                break
    return kept, size
