"""Files of text as blocks of characters: unpacked, decoded, a block at a time."""

import bz2
import codecs
import gzip
import lzma
import shlex
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import BinaryIO, cast

from phonelm_search.core.errors import TrainingError, first_line
from phonelm_search.train.messages import shortened

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Endings that say how a file is packed; what it begins with decides."""
_BLOCK = 1 << 20
_OPENERS: Mapping[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_UNPACK = "unpack it first"
_FOREIGN: Mapping[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", _UNPACK),
    b"7z\xbc\xaf": ("a 7-Zip archive", _UNPACK),
    b"PAR1": ("a Parquet file", "give its folder as hf:FOLDER"),
    b"ARROW1": ("an Arrow file", "give its folder as hf:FOLDER"),
    b"%PDF": ("a PDF", "extract its text first, for example with pdftotext"),
}
_TAR, _TAR_OFFSET = b"ustar", 257
_ENCODINGS: Mapping[bytes, str] = {  # UTF-32 first: it begins like UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_LOOKED_AT = 8192  # bytes that are searched for zeros


def text_blocks(file: Path) -> Iterator[str]:
    r"""The characters of a file, every line end as ``\n``.

    A file that gzip, zstd, bzip2 or xz packed is unpacked, whatever its name. One that begins with
    a byte-order mark is decoded by it, any other as UTF-8.

    Raises:
        TrainingError: If it cannot be read, or is no text; the message tells how to make it one.
    """
    try:
        with _opened(file) as stream:
            yield from _decoded(stream, file)
    except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile) as error:
        raise _damaged(file, error) from error
    except OSError as error:
        if error.errno is None:  # bzip2's own
            raise _damaged(file, error) from error
        raise TrainingError(f"{shortened(file)} must be readable: {error.strerror}") from error


def _damaged(file: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{shortened(file)} must be a whole packed file: {first_line(error)}; copy or download it "
        "again"
    )


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as plain:
        head = plain.read(8)
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return cast(BinaryIO, opener(file))
    return file.open("rb")


def _decoded(stream: BinaryIO, file: Path) -> Iterator[str]:
    block = stream.read(_BLOCK)
    decoder = codecs.getincrementaldecoder(_encoding(block, file))()
    lines = IncrementalNewlineDecoder(decoder, translate=True)
    number = 1
    while True:
        try:
            text = lines.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _undecodable(file, error, number) from error
        number += text.count("\n")
        if text:
            yield text
        if not block:
            return
        block = stream.read(_BLOCK)


def _encoding(head: bytes, file: Path) -> str:
    for magic, (what, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise TrainingError(f"{shortened(file)} must hold text, it is {what}; {remedy}")
    if head[_TAR_OFFSET:].startswith(_TAR):
        raise TrainingError(
            f"{shortened(file)} must hold text, it is a tar archive; unpack it first"
        )
    if any(head.startswith(magic) for magic in _OPENERS):
        raise TrainingError(
            f"{shortened(file)} must hold text, it is packed twice; unpack it first"
        )
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    looked_at = head[:_LOOKED_AT]
    if b"\0" in looked_at:
        wide = next((e for at, e in ((1, "UTF-16LE"), (0, "UTF-16BE")) if _wide(looked_at, at)), "")
        what = f"UTF-16 without a byte-order mark; {_conversion(file, wide)}"
        raise TrainingError(
            f"{shortened(file)} must hold UTF-8 text, it seems to be "
            + (what if wide else "binary; take it out of --data")
        )
    return "utf-8"


def _wide(head: bytes, at: int) -> bool:
    """Whether most of every second byte is zero, as in UTF-16 of Latin letters."""
    high, low = head[at::2], head[1 - at :: 2]
    return high.count(0) > len(high) / 2 and low.count(0) < len(low) / 10


def _conversion(file: Path, encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 {shlex.quote(shortened(file))} > NEW"


def _undecodable(file: Path, error: UnicodeDecodeError, number: int) -> TrainingError:
    line = number + error.object[: error.start].count(b"\n")
    if "unexpected end" in error.reason or error.reason == "truncated data":
        return TrainingError(
            f"{shortened(file)} must hold whole text, it ends within a character in line {line}; "
            "copy or download it again, or convert it if it is of another encoding"
        )
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding.upper()
    remedy = _conversion(file, "WINDOWS-1252, or what it is,") if name == "UTF-8" else "mend it"
    byte = error.object[error.start]
    return TrainingError(
        f"{shortened(file)} must hold {name} text, line {line} has the byte 0x{byte:02x} "
        f"({error.reason}); {remedy}"
    )
