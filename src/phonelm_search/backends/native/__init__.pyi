from .runtime import Accelerator as Accelerator, Finished as Finished, LocalPlace as LocalPlace, NativeRuntime as NativeRuntime, PROBE_SECONDS as PROBE_SECONDS, SIGSYS as SIGSYS
from .toolchain import ARM64 as ARM64, RUNNER as RUNNER, SOURCES as SOURCES, build_runner as build_runner, cache_folder as cache_folder, run_tool as run_tool, source_digest as source_digest
