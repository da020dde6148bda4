"""Draws of a fit, kept for the next command that reads the same rounds: a fit takes a while."""

import contextlib
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats
from phonelm_search.work import file_under_way

Singles = npt.NDArray[np.float32]

_VERSION = "2"  # of the sampler: another one's draws are not taken
_DIGEST = "digest"


def cached_arrays(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, Floats]]
) -> dict[str, Floats]:
    """Arrays that were kept with a digest, else made and kept; without a file made."""
    if file is None:
        return dict(make())
    found = kept_arrays(file, digest)
    if found is None:
        found = _keep(file, digest, make())
    return {name: array.astype(float) for name, array in found.items()}


def cached_singles(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, Floats]]
) -> dict[str, Singles]:
    """The same in single precision, as they are kept: many draws of many shapes."""
    if file is None:
        return {name: array.astype(np.float32) for name, array in make().items()}
    found = kept_arrays(file, digest)
    return _keep(file, digest, make()) if found is None else found


def kept_arrays(
    file: Path | None, digest: str, names: Collection[str] | None = None
) -> dict[str, Singles] | None:
    """Arrays that were kept with a digest, in single precision.

    Args:
        file: Where.
        digest: Of what they were made from.
        names: Which ones, for what is not asked for is not read; None: all.

    Returns:
        None where the file holds others, or there is none.
    """
    if file is None:
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            if str(found[_DIGEST]) != _VERSION + digest:
                return None
            wanted = [n for n in found.files if n != _DIGEST] if names is None else names
            return {name: found[name].astype(np.float32, copy=False) for name in wanted}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or half of one
        return None


def _keep(file: Path, digest: str, arrays: Mapping[str, Floats]) -> dict[str, Singles]:
    """Replace the file; where it cannot be written, the next reading fits again.

    Returns:
        The arrays as the next reading finds them.
    """
    kept = {name: array.astype(np.float32) for name, array in arrays.items()}
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_under_way(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **kept, **{_DIGEST: np.array(_VERSION + digest)})
    return kept
