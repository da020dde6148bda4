"""Where training text comes from: the embedded corpus, a person's files, a named dataset."""

import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path

from phonelm_search.core.errors import TrainingError, first_line

SEPARATOR = "<|endoftext|>"
"""Between documents of one file."""
EMBEDDED = "embedded"
_EVERY, _OFFSET = 12, 5
_LEAST_DOCUMENTS = 24
_PIECES = 48
_LEAST_BYTES = 200_000
_LEAST_HELD_OUT = 10_000
MOST_BYTES = 500_000_000
"""What is read of a larger text; a proxy's horizon needs less."""
_DATASET = "hf:"
_PLAIN, _LINES = (".txt", ".text", ".md"), (".jsonl",)


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
    """Read and split documents.

    Args:
        sources: Text files, folders of them, or ``hf:NAME`` for a dataset of the Hugging Face Hub,
            downloaded by the ``datasets`` package; nothing means the embedded corpus, 233 State of
            the Union addresses (see ``data/sotu.LICENSE``).

    Raises:
        TrainingError: If a source is missing, unreadable or too small.
    """
    if not sources:
        return _split(EMBEDDED, _embedded(), ())
    name = ", ".join(sources)
    documents, notes = _limited(d for s in sources for d in _read(s))
    if len(documents) < _LEAST_DOCUMENTS:
        documents = _pieces(documents)
        notes += (f"few documents: the text was cut at blank lines into {len(documents)}",)
    size = sum(len(d.encode()) for d in documents)
    if size < _LEAST_BYTES or len(documents) < _LEAST_DOCUMENTS:
        raise TrainingError(
            f"the text must have at least {_LEAST_BYTES:,} bytes and {_LEAST_DOCUMENTS} documents "
            f"(files, lines of .jsonl, or parts between {SEPARATOR} or blank lines), {name} has "
            f"{size:,} bytes in {len(documents)}; give more with --data"
        )
    found = _split(name, documents, notes)
    held_out = sum(len(d.encode()) for d in found.validation)
    if held_out < _LEAST_HELD_OUT:
        raise TrainingError(
            f"the held-out text, every {_EVERY}th document of {name}, must have at least "
            f"{_LEAST_HELD_OUT:,} bytes, it has {held_out:,}; give more or longer documents"
        )
    return found


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


def _limited(documents: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    kept: list[str] = []
    size = 0
    for document in documents:
        if document.strip():
            kept.append(document)
            size += len(document.encode())
            if size > MOST_BYTES:
                return kept, (f"only the first {size / 1e6:.0f} MB of the text are used",)
    return kept, ()


def _read(source: str) -> Iterator[str]:
    if source.startswith(_DATASET):
        yield from _read_dataset(source.removeprefix(_DATASET))
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in (*_PLAIN, *_LINES) and f.is_file())
        if not files:
            raise TrainingError(
                f"a folder of text must hold {', '.join((*_PLAIN, *_LINES))} files, {path} holds "
                "none"
            )
    elif path.is_file():
        files = [path]
    else:
        raise TrainingError(
            f"--data must name text files, a folder or {_DATASET}NAME, there is no {path}"
        )
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[str]:
    try:
        content = file.read_text(encoding="utf-8")
        if file.suffix in _LINES:
            for line in content.split("\n"):
                if line.strip():
                    yield _field(json.loads(line))
        else:
            yield from content.split(SEPARATOR)
    except OSError as error:
        raise TrainingError(f"{file} must be readable: {error.strerror}") from error
    except (UnicodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        kind = 'JSON objects with a string "text", one a line' if file.suffix in _LINES else "UTF-8"
        raise TrainingError(f"{file} must hold {kind}: {error}") from error


def _field(record: dict[str, object]) -> str:
    text = record["text"]
    if not isinstance(text, str):
        raise TypeError(f'"text" is {type(text).__name__}')
    text.encode()  # refuses half a surrogate pair
    return text


def _read_dataset(name: str) -> Iterator[str]:
    try:
        import datasets
    except ImportError as error:
        raise TrainingError(
            f"{_DATASET}{name} needs the datasets package: pip install 'phonelm-search[hf]'"
        ) from error
    try:
        found = datasets.load_dataset(name, split="train", streaming=True)
        yield from (_field(record) for record in found)
    except (OSError, ValueError, KeyError, TypeError, datasets.exceptions.DatasetsError) as error:
        raise TrainingError(
            f'the dataset {name} must be readable, with a train split and a column "text": '
            f"{first_line(error)}"
        ) from error


def _pieces(documents: Sequence[str]) -> list[str]:
    """The same text in more pieces, cut at blank lines."""
    paragraphs = [p for d in documents for p in d.split("\n\n") if p.strip()]
    wanted = sum(map(len, paragraphs)) / _PIECES
    pieces: list[str] = []
    rest = iter(paragraphs)
    for first in rest:
        piece = [first]
        size = len(first)
        while size < wanted and (more := list(islice(rest, 1))):
            piece += more
            size += len(more[0])
        pieces.append("\n\n".join(piece))
    return pieces
