"""Training in the tests' own process, where torch is loaded already."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from phonelm_search.train.pool import InlinePool


@contextmanager
def trained_inline() -> Iterator[None]:
    """Whoever trains meanwhile does it in this process: a child would load torch anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phonelm_search.train.runs.ChildPool", lambda: InlinePool(threads=1))
        yield
