"""Runtimes by name; nothing is imported before it is asked for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from phonelm_search.errors import UnknownNameError
from phonelm_search.runtimes.base import Runtime

Factory = Callable[..., Runtime]


def _onnxruntime() -> Factory:
    from phonelm_search.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime


def _fake() -> Factory:
    from phonelm_search.runtimes.fake import FakeRuntime

    return FakeRuntime


RUNTIMES: dict[str, Callable[[], Factory]] = {"onnxruntime": _onnxruntime, "fake": _fake}


def get_runtime(
    name: str,
    *,
    threads: int,
    execution_provider: str,
    provider_options: Mapping[str, str] = MappingProxyType({}),
) -> Runtime:
    """Make a runtime.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in RUNTIMES:
        raise UnknownNameError("runtime", name, list(RUNTIMES))
    return RUNTIMES[name]()(
        threads=threads,
        execution_provider=execution_provider,
        provider_options=provider_options,
    )
