"""Draws of a fit, kept for the next command that reads the same rounds: a fit takes a while."""

import contextlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from phonelm_search.core.statistics import Floats
from phonelm_search.work import file_under_way

_VERSION = "2"  # of the sampler: another one's draws are not taken
_DIGEST = "digest"


def cached_arrays(
    file: Path | None, digest: str, make: Callable[[], Mapping[str, Floats]]
) -> dict[str, Floats]:
    """Arrays that were kept with a digest, else made and kept; without a file made."""
    if file is None:
        return dict(make())
    found = _kept(file, digest)
    return _keep(file, digest, make()) if found is None else found


def _kept(file: Path, digest: str) -> dict[str, Floats] | None:
    """Arrays that were kept with a digest; None where the file holds others, or there is none."""
    try:
        with np.load(file, allow_pickle=False) as found:
            if str(found[_DIGEST]) != _VERSION + digest:
                return None
            return {name: found[name].astype(float) for name in found.files if name != _DIGEST}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or half of one
        return None


def _keep(file: Path, digest: str, arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    """Replace the file; where it cannot be written, the next reading fits again.

    Returns:
        The arrays as the next reading finds them.
    """
    kept = {name: array.astype(np.float32) for name, array in arrays.items()}
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_under_way(file) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **kept, **{_DIGEST: np.array(_VERSION + digest)})
    return {name: array.astype(float) for name, array in kept.items()}
