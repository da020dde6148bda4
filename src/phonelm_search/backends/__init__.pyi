from .base import (
    PROTOCOL_VERSION as PROTOCOL_VERSION,
)
from .base import (
    CacheJob as CacheJob,
)
from .base import (
    Files as Files,
)
from .base import (
    Job as Job,
)
from .base import (
    LogitsResult as LogitsResult,
)
from .base import (
    ModelJob as ModelJob,
)
from .base import (
    PhaseJob as PhaseJob,
)
from .base import (
    PhaseResult as PhaseResult,
)
from .base import (
    Placement as Placement,
)
from .base import (
    Result as Result,
)
from .base import (
    Runtime as Runtime,
)
from .base import (
    TensorJob as TensorJob,
)
from .base import (
    WarmupJob as WarmupJob,
)
from .base import (
    WeightsJob as WeightsJob,
)
from .base import (
    needed_bytes as needed_bytes,
)
from .registry import (
    QNN_SIMULATOR as QNN_SIMULATOR,
)
from .registry import (
    RUNTIMES as RUNTIMES,
)
from .registry import (
    get_runtime as get_runtime,
)
from .registry import (
    local_placement as local_placement,
)
from .registry import (
    planned_cache_bytes as planned_cache_bytes,
)
