"""Optuna's own tables in the same database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.core.errors import StoreError, StudyMismatchError, first_line
from phonelm_search.core.logs import quiet
from phonelm_search.store.database import Store
from phonelm_search.store.engine import in_place_of
from phonelm_search.store.faults import store_error
from phonelm_search.store.setup import OPTUNAS, alone
from phonelm_search.store.steady_trials import opened_storage


def open_optuna_storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's storage of a results folder; one process at a time makes its tables.

    Raises:
        StoreError: If its tables are of another release of Optuna.
    """
    return store.again(lambda: _opened(store), lambda: _opened(store))


def _opened(store: Store) -> optuna.storages.RDBStorage:
    engine = store.engine
    with alone(engine):
        try:
            return opened_storage(store, f"{engine.url.drivername}://", in_place_of(engine))
        except RuntimeError as error:  # what Optuna raises, and nothing more special
            raise StoreError(
                f"Optuna's tables in {store.name} must be of Optuna {optuna.__version__}: "
                f"{first_line(error)} Copy the database before."
            ) from error


def has_trials(store: Store) -> bool:
    """Whether Optuna's tables are there; who opens its storage makes them.

    Raises:
        StoreError: If the database cannot be read.
    """
    try:
        return inspect(store.engine).has_table(OPTUNAS)
    except SQLAlchemyError as error:
        raise store_error(f"read the database {store.name}", error) from error


def check_trials(store: Store, study: str, directions: Sequence[str], *, started: bool) -> None:
    """Refuse a study of Optuna's that has our study's name and is not of ours.

    Args:
        store: The database.
        study: Name of the study.
        directions: Of its objectives, ``minimize`` each or ``maximize``.
        started: Whether our tables hold it already.

    Raises:
        StudyMismatchError: If another program made it.
        StoreError: If Optuna's tables cannot be used.
    """
    with optuna_calls("open"):
        storage = open_optuna_storage(store)
        try:
            same = [s for s in storage.get_all_studies() if s.study_name == study]
        finally:
            storage.remove_session()
            storage.engine.dispose()
    if not same:
        return
    found = [d.name.lower() for d in same[0].directions]
    if not started or found != list(directions):
        raise StudyMismatchError(
            f"study '{study}' of Optuna's must be one that phonelm-search started, in "
            f"{store.name} it is another program's ({', '.join(found)}); use another --study or "
            "--storage"
        )


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
        raise store_error(f"{action} the study's trials", error) from error
