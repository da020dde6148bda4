"""Training in the tests' own process, where torch is loaded already."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phonelm_search.core.shape import ModelShape
from phonelm_search.train import TrainingSettings
from phonelm_search.train.pool import InlinePool
from phonelm_search.train.probe import Acceleration


class PlainPool(InlinePool):
    """One thread, and fp32 without timing whether another way is quicker."""

    def __init__(self) -> None:
        super().__init__(threads=1)

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`."""
        return Acceleration(number_type="fp32", compiled=False, tokens_per_s={})


@contextmanager
def trained_inline() -> Iterator[None]:
    """Whoever trains meanwhile does it in this process: a child would load torch anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phonelm_search.train.runs.ChildPool", PlainPool)
        yield
