from .counts import StudyCounts as StudyCounts
from .database import Store as Store
from .lock import study_lock as study_lock
from .trials import foreign_errors as foreign_errors
from .trials import open_optuna_storage as open_optuna_storage
