"""What tests of several rooms share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from helpers import QUICK
from phonelm_search.train import TokenisedCorpus, load_text, tokenise
from phonelm_search.train.text import Text

MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30


def pytest_configure() -> None:
    """Temporary folders in memory, where nothing waits for a disk to have written."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run; what is made in it is made under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def text() -> Text:
    return load_text()


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    return shared / "tokens"


@pytest.fixture(scope="session")
def corpus(text: Text, cache: Path, shared: Path) -> TokenisedCorpus:
    """The embedded text as tokens."""
    with FileLock(shared / "corpus.lock"):
        return tokenise(text, 512, cache)


@pytest.fixture(scope="session")
def small_corpus(text: Text, cache: Path, shared: Path) -> TokenisedCorpus:
    """Half a megabyte of it, whose validation takes a moment only."""
    train = tuple(d[2000:12_000] for d in text.train[:48])
    small = Text(name="small", train=train, validation=text.validation[:1])
    with FileLock(shared / "small-corpus.lock"):
        return tokenise(small, 512, cache)


@pytest.fixture
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures takes `helpers.QUICK` for the protocol, and judges nothing by its company.

    For tests of what happens with measurements, not of how they are made.
    """
    monkeypatch.setattr("phonelm_search.stages.measure._SETTINGS", QUICK)
    for module in ("measure.profiler", "measure.placement_sweep", "stages.new_phone"):
        monkeypatch.setattr(f"phonelm_search.{module}.MeasureSettings", lambda: QUICK)
    monkeypatch.setattr("phonelm_search.measure.verdict._LEAST_CPU_SHARE", 0.0)


@pytest.fixture
def inline_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever trains does it in this process: a child would load torch anew."""
    from inline import InlinePool, choose_here

    monkeypatch.setattr("phonelm_search.train.runs.TrainingPool", InlinePool)
    monkeypatch.setattr("phonelm_search.train.choose_acceleration", choose_here)
