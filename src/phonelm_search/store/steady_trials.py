"""Optuna's storage, where the server of its database may go away for a while."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.store.faults import driver_error, is_absence
from phonelm_search.store.steady import ServerLostError

if TYPE_CHECKING:
    from phonelm_search.store.opening import Database

_OTHERS = (
    "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs",
    "get_study_system_attrs", "get_all_studies", "_set_trial_param", "set_trial_user_attr",
    "set_trial_system_attr", "get_trial", "_get_trials",
)  # fmt: skip
"""Calls of one transaction that read, or that write and give nothing."""


class SteadyStorage(RDBStorage):
    """Trials whose calls are made again when the server is back, and never twice."""

    def __init__(self, database: "Database", url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs)
        self.database = database
        database.watch(self.engine)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """See `optuna.storages.BaseStorage`."""
        return self.database.again(
            functools.partial(super().create_new_study, directions, study_name),
            lambda: self.get_study_id_from_name(str(study_name)),
        )

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        return self.database.again(
            functools.partial(super()._create_new_trial, study_id, template_trial),
            lambda: self._newest(study_id),
        )

    def _newest(self, study_id: int) -> FrozenTrial:
        """The last trial: nobody but this process adds any."""
        return max(self._get_trials(study_id, None, set(), -1), key=lambda t: t.number)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `optuna.storages.BaseStorage`."""
        return self.database.again(
            functools.partial(super().set_trial_state_values, trial_id, state, values),
            lambda: True,
        )


def _steady(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(self: SteadyStorage, *args: Any, **kwargs: Any) -> Any:
        if "database" not in vars(self):  # while it is made
            return plain(self, *args, **kwargs)
        return self.database.again(lambda: plain(self, *args, **kwargs), lambda: None)

    return call


for _name in _OTHERS:
    setattr(SteadyStorage, _name, _steady(getattr(RDBStorage, _name)))


def opened_storage(database: "Database", url: str, engine_kwargs: Mapping[str, Any]) -> RDBStorage:
    """Optuna's storage of a database; of SQLite its own."""
    if database.engine.dialect.name != "postgresql":
        return RDBStorage(url, engine_kwargs=dict(engine_kwargs))
    try:
        return SteadyStorage(database, url, dict(engine_kwargs))
    except (SQLAlchemyError, OptunaError) as error:  # nobody watches its connections yet
        cause = driver_error(error)
        if is_absence(cause, unconnected=True):
            raise ServerLostError(database.name, cause) from error
        raise
