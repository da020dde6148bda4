"""Optuna's own tables in the same database."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.core.errors import StoreError
from phonelm_search.core.logs import quiet
from phonelm_search.store.database import Store


def open_optuna_storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's storage of a results folder."""
    return optuna.storages.RDBStorage(store.url, engine_kwargs={"connect_args": store.connect_args})


@contextmanager
def optuna_calls(action: str) -> Iterator[None]:
    """Let Optuna log errors alone meanwhile, and turn its and the database's failures into ours.

    Args:
        action: What was tried: open, read or write.

    Raises:
        StoreError: With that action named.
    """
    try:
        with quiet("optuna"):
            yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        cause = error.__cause__ or error
        first = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StoreError(
            f"cannot {action} the study's trials: {first}; what was finished before is "
            "kept, run again to continue"
        ) from error
