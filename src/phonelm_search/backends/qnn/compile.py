"""Qualcomm's NPU through the plug-in provider of ``onnxruntime-qnn``: compiling here.

On x86 the provider's HTP backend compiles for a chip and computes what the chip would: it shows
that a graph compiles, that its numbers are right and what context it becomes. How long it takes
here says nothing about a phone.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.node_coverage import Assigned
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import save_feeds
from phonelm_search.work import ask

QNN = "QNNExecutionProvider"
CPU = "CPUExecutionProvider"
HTP_BACKEND = "libQnnHtp.so"
_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A graph that a provider took, and what it computed."""

    assigned: tuple[Assigned, ...]
    """Where each node runs, read when the graph was compiled."""
    compile_seconds: float
    """Wall time of compiling."""
    context_files: tuple[Path, ...]
    """The compiled context; empty where the provider makes none."""
    outputs: tuple[Mapping[str, np.ndarray[Any, Any]], ...]
    """Of each run."""

    @property
    def context_bytes(self) -> int:
        """Size of the compiled context."""
        return sum(f.stat().st_size for f in self.context_files)


def provider_versions(provider: str) -> dict[str, str]:
    """Releases that a compilation depends on.

    Raises:
        ConfigurationError: If the provider's package is not installed.
    """
    found = {"onnxruntime": version("onnxruntime")}
    if provider == QNN:
        if importlib.util.find_spec("onnxruntime_qnn") is None:
            raise ConfigurationError(
                f"{QNN} needs onnxruntime-qnn, which is not installed; "
                "pip install 'phonelm-search[npu]' (Linux on x86-64, or Windows)"
            )
        found["onnxruntime-qnn"] = version("onnxruntime-qnn")
    return found


def provider_library() -> tuple[Path, Path]:
    """The provider's library on this machine, and the backend that it loads.

    Raises:
        ConfigurationError: If the provider's package is not installed.
    """
    provider_versions(QNN)
    import onnxruntime_qnn

    return (
        Path(onnxruntime_qnn.get_library_path()),
        Path(onnxruntime_qnn.__file__).parent / HTP_BACKEND,
    )


def simulator(profile: DeviceProfile) -> dict[str, str]:
    """What a simulated NPU consists of.

    Raises:
        ConfigurationError: If the provider's package is not installed.
    """
    return {
        "execution_provider": str(profile.execution_provider),
        "precision": str(profile.precision),
        **profile.provider_options,
        **provider_versions(QNN),
        "backend": provider_library()[1].name,
        "latency": "none",
    }


def compile_and_run(
    graph: Path,
    provider: str,
    options: Mapping[str, str],
    feeds: Sequence[Mapping[str, np.ndarray[Any, Any]]],
    folder: Path,
    *,
    name: str = "context",
) -> Compiled:
    """Compile a graph for a provider in a child process, and run it on some inputs.

    Args:
        graph: Its file.
        provider: `QNN` or `CPU`.
        options: The provider's, such as ``soc_model`` and ``htp_arch``.
        feeds: Inputs of each run.
        folder: Where inputs, outputs and context go; must exist.
        name: What the context's files are called.

    Raises:
        ConfigurationError: If the provider is not installed.
        MeasurementError: If the child fails; its stage is ``compile``, ``timeout`` or ``memory``.
    """
    libraries = list(map(str, provider_library())) if provider == QNN else [None, None]
    files = []
    for number, values in enumerate(feeds):
        file = folder.resolve() / f"inputs-{number}.safetensors"
        save_feeds(file, values)
        files.append(str(file))
    for stale in folder.glob(f"{name}*"):
        stale.unlink(missing_ok=True)
    job = {
        "graph": str(graph.resolve()), "provider": provider, "plug_in": libraries[0],
        "backend": libraries[1], "provider_options": dict(options),
        "context": f"{name}.onnx", "folder": str(folder.resolve()),
        "feeds": files, "outputs": "outputs",
    }  # fmt: skip
    answer = ask(
        "phonelm_search.backends.qnn.compile_child",
        job,
        what=f"compiling for {provider}",
        seconds=_SECONDS,
    )
    return Compiled(
        assigned=tuple(Assigned(name=n, op_type=o, provider=p) for n, o, p in answer["assigned"]),
        compile_seconds=answer["compile_seconds"],
        context_files=tuple(
            sorted(p for p in folder.glob(f"{name}*") if p.suffix in (".onnx", ".bin"))
        ),
        outputs=tuple(load_file(folder / f"outputs-{i}.safetensors") for i in range(len(feeds))),
    )
