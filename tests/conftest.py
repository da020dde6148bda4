"""The embedded text as tokens, made once; what Optuna logs."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from phonelm_search.train import TokenisedCorpus, load_text, tokenise
from phonelm_search.train.text import Text


@pytest.fixture(scope="session")
def text() -> Text:
    return load_text()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="session")
def corpus(text: Text, cache: Path) -> TokenisedCorpus:
    return tokenise(text, 512, cache)


@pytest.fixture(scope="session")
def small_corpus(text: Text, cache: Path) -> TokenisedCorpus:
    """Half a megabyte of it, whose validation takes a moment only."""
    train = tuple(d[2000:12_000] for d in text.train[:48])
    return tokenise(Text(name="small", train=train, validation=text.validation[:1]), 512, cache)


@pytest.fixture
def optuna_records() -> Iterator[list[logging.LogRecord]]:
    """What Optuna logs where a host program wants to see all that it has to say."""
    optuna = logging.getLogger("optuna")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    before = optuna.level
    optuna.addHandler(handler)
    optuna.setLevel(logging.INFO)
    yield records
    optuna.removeHandler(handler)
    optuna.setLevel(before)
