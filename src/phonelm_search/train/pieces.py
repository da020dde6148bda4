"""Few or uneven documents cut into about fifty of one size."""

import re
from collections.abc import Iterator, Sequence

_PIECES = 48
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")
_FINER = (("line ends", re.compile(r"\n")), ("spaces", re.compile(r"\s")), ("any place", None))


def ways_to_cut(documents: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The same text in more pieces: cut at blank lines, at line ends, at spaces, at any place.

    Yields:
        Where it was cut, and the pieces.
    """
    yield "blank lines", at_blank_lines(documents)
    wanted = max(1, sum(map(len, documents)) // _PIECES)
    for name, place in _FINER:
        pieces = [p for d in documents for p in _slices(d, wanted, place)]
        yield name, [p for p in pieces if p.strip()]


def at_blank_lines(documents: Sequence[str]) -> list[str]:
    """Pieces of whole paragraphs; lines of nothing but spaces are blank."""
    wanted = sum(map(len, _paragraphs(documents))) / _PIECES
    pieces: list[str] = []
    piece: list[str] = []
    size = 0
    for paragraph in _paragraphs(documents):
        piece.append(paragraph)
        size += len(paragraph)
        if size >= wanted:
            pieces.append("\n\n".join(piece))
            piece, size = [], 0
    return [*pieces, "\n\n".join(piece)] if piece else pieces


def _paragraphs(documents: Sequence[str]) -> Iterator[str]:
    for document in documents:
        begin = 0
        for blank in _BLANK_LINES.finditer(document):
            if (paragraph := document[begin : blank.start()]).strip():
                yield paragraph
            begin = blank.end()
        if (paragraph := document[begin:]).strip():
            yield paragraph


def _slices(document: str, wanted: int, place: re.Pattern[str] | None) -> Iterator[str]:
    begin = 0
    while len(document) - begin > wanted:
        if place is None:
            end = begin + wanted
        elif (found := place.search(document, begin + wanted)) is None:
            break
        else:
            end = found.end()
        yield document[begin:end]
        begin = end
    yield document[begin:]
