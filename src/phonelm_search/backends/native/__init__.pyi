from .runtime import (
    PROBE_SECONDS as PROBE_SECONDS,
)
from .runtime import (
    SIGSYS as SIGSYS,
)
from .runtime import (
    Accelerator as Accelerator,
)
from .runtime import (
    Finished as Finished,
)
from .runtime import (
    LocalPlace as LocalPlace,
)
from .runtime import (
    NativeRuntime as NativeRuntime,
)
from .toolchain import (
    ARM64 as ARM64,
)
from .toolchain import (
    RUNNER as RUNNER,
)
from .toolchain import (
    SOURCES as SOURCES,
)
from .toolchain import (
    build_runner as build_runner,
)
from .toolchain import (
    cache_folder as cache_folder,
)
from .toolchain import (
    run_tool as run_tool,
)
from .toolchain import (
    source_digest as source_digest,
)
