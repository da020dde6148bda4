"""What was worked out of rounds, kept for the next command that reads the same: it takes a while.

What is kept is mapped and not read: of the draws of thousands of shapes a command looks at few.
"""

import contextlib
import json
import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from phonelm_search.core.statistics import Floats
from phonelm_search.work import file_under_way

Singles = npt.NDArray[np.float32]

_VERSION = "2"  # of the sampler: another one's draws are not taken
_DIGEST, _DOCUMENT = "digest", "document"
_ZIP_HEADER = struct.Struct("<26xHH")
"""Of a file in an archive; lengths of its name and of what else stands before its bytes."""


def cached_arrays(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, Floats]]
) -> dict[str, Floats]:
    """Arrays that were kept with a digest, else made and kept; without a file made."""
    if file is None:
        return dict(make())
    found = cached_singles(file, digest, make)
    return {name: array.astype(float) for name, array in found.items()}


def cached_singles(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, npt.NDArray[Any]]]
) -> dict[str, Singles]:
    """The same in single precision, as they are kept: many draws of many shapes."""
    found = kept_arrays(file, digest)
    if found is not None:
        return found
    arrays = {name: array.astype(np.float32, copy=False) for name, array in make().items()}
    keep_arrays(file, digest, arrays)
    return arrays


def cached_doubles(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, Floats]]
) -> dict[str, Floats]:
    """The same to the last digit: what draws come to is a thousandth of them."""
    found = kept_arrays(file, digest)
    if found is not None:
        return found
    arrays = dict(make())
    keep_arrays(file, digest, arrays)
    return arrays


def kept_arrays(file: Path | None, digest: str) -> dict[str, Any] | None:
    """Arrays that were kept with a digest, as they were kept; their pages are read when needed.

    Returns:
        None where the file holds others, or there is none.
    """
    if file is None:
        return None
    try:
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            with archive.open(f"{_DIGEST}.npy") as member:
                if str(npy.read_array(member)) != _VERSION + digest:
                    return None
            pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            return {
                member.filename.removesuffix(".npy"): _array(pages, member.header_offset)
                for member in archive.infolist()
                if member.filename != f"{_DIGEST}.npy"
            }
    except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile):
        return None  # no file, or half of one


def _array(pages: mmap.mmap, place: int) -> npt.NDArray[Any]:
    """An array of an archive that is not compressed."""
    pages.seek(place)
    before = sum(_ZIP_HEADER.unpack(pages.read(_ZIP_HEADER.size)))
    pages.seek(place + _ZIP_HEADER.size + before)
    npy.read_magic(pages)
    shape, turned, dtype = npy.read_array_header_1_0(pages)
    return np.ndarray(shape, dtype, pages, pages.tell(), order="F" if turned else "C")


def keep_arrays(file: Path | None, digest: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace a file of arrays; where it cannot be written, the next reading makes them again."""
    if file is None:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_under_way(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays, **{_DIGEST: np.array(_VERSION + digest)})


def cached_json(file: Path | None, digest: str, make: Callable[[], Any]) -> Any:
    """A JSON document that was kept with a digest, else made and kept; without a file made."""
    found = kept_arrays(file, digest)
    if found is not None:
        with contextlib.suppress(ValueError, KeyError):  # of a file that was damaged
            return json_of(found[_DOCUMENT])
    made = json_array(make())
    keep_arrays(file, digest, {_DOCUMENT: made})
    return json_of(made)


def json_array(content: Any) -> npt.NDArray[np.uint8]:
    """A JSON document as an array, to be kept beside others."""
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def json_of(array: npt.NDArray[Any]) -> Any:
    """The document.

    Raises:
        ValueError: If it is none.
    """
    return json.loads(array.tobytes())
