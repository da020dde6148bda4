"""Optuna's own tables in the same database."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.core.errors import StoreError
from phonelm_search.store.database import Store


def open_optuna_storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's storage of a results folder."""
    return optuna.storages.RDBStorage(store.url, engine_kwargs={"connect_args": store.connect_args})


@contextmanager
def foreign_errors(action: str) -> Iterator[None]:
    """Turn Optuna's and the database's failures into ours.

    Args:
        action: What was tried: open, read or write.

    Raises:
        StoreError: With that action named.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        cause = error.__cause__ or error
        first = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StoreError(
            f"cannot {action} the study's trials: {first}; what was finished before is "
            "kept, run again to continue"
        ) from error
