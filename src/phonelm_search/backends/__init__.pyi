from .base import (
    CacheJob as CacheJob,
    Files as Files,
    Job as Job,
    LogitsResult as LogitsResult,
    ModelJob as ModelJob,
    PROTOCOL_VERSION as PROTOCOL_VERSION,
    PhaseJob as PhaseJob,
    PhaseResult as PhaseResult,
    Placement as Placement,
    Result as Result,
    Runtime as Runtime,
    TensorJob as TensorJob,
    WarmupJob as WarmupJob,
    WeightsJob as WeightsJob,
    needed_bytes as needed_bytes,
)
from .registry import (
    QNN_SIMULATOR as QNN_SIMULATOR,
    RUNTIMES as RUNTIMES,
    get_runtime as get_runtime,
    local_placement as local_placement,
    planned_cache_bytes as planned_cache_bytes,
)
