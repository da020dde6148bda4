from .address import masked as masked
from .counts import StudyCounts as StudyCounts
from .database import Store as Store
from .lock import study_held as study_held
from .lock import study_lock as study_lock
from .trials import check_trials as check_trials
from .trials import open_optuna_storage as open_optuna_storage
from .trials import optuna_calls as optuna_calls
