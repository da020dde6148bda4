"""Trials kept in memory, for tests of what a sampler asks for."""

from functools import cache

import optuna
import pytest

from phonelm_search.store import Store


@pytest.fixture
def trials_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's trials, and nothing else of the database, in memory: a trial takes 0.1 s there."""

    @cache
    def storage_of(url: str) -> optuna.storages.BaseStorage:
        return optuna.storages.InMemoryStorage()

    def opened(store: Store) -> optuna.storages.BaseStorage:
        return storage_of(store.url)

    for module in ("phonelm_search.search.driver", "helpers"):
        monkeypatch.setattr(f"{module}.open_optuna_storage", opened)
