"""Building the runner: one compiler call, kept by content."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.work import folder_under_way

SOURCES = Path(__file__).parent / "runner"
RUNNER = "phonelm-runner"
# No contraction: a fused multiply-add would round generated weights otherwise than numpy does.
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-pthread", "-Wall", "-Wextra")
_LIBRARIES = ("-ldl",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A C++ compiler for one kind of processor."""

    machine: str
    """As ``uname -m`` says."""
    compilers: tuple[str, ...]
    """Names to look for, the first one first."""
    install: str
    """How to get one."""
    variable: str
    """Environment variable that names another one."""

    def compiler(self) -> str:
        """The compiler's path.

        Raises:
            ConfigurationError: If there is none; says how to install one.
        """
        named = os.environ.get(self.variable)
        for name in (named,) if named else self.compilers:
            if found := shutil.which(name):
                return found
        wanted = named or " or ".join(self.compilers)
        raise ConfigurationError(
            f"building the runner for {self.machine} needs {wanted} on PATH and it is not there; "
            f"{self.install}, or name one in {self.variable}"
        )


HOST = Toolchain(
    machine="this machine",
    compilers=("c++", "g++", "clang++"),
    install="on Debian: apt-get install g++",
    variable="CXX",
)
ARM64 = Toolchain(
    machine="aarch64",
    compilers=("aarch64-linux-gnu-g++",),
    install="on Debian: apt-get install g++-aarch64-linux-gnu",
    variable="PHONELM_AARCH64_CXX",
)


def cache_folder() -> Path:
    """Where built programs and bundles are kept; ``PHONELM_CACHE`` names another place."""
    named = os.environ.get("PHONELM_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("phonelm-search")


def source_digest() -> str:
    """Digest of the runner's source: what was built from another one is not used."""
    digest = hashlib.sha256()
    for source in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        name = source.relative_to(SOURCES).as_posix()
        digest.update(name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def build_runner(toolchain: Toolchain) -> Path:
    """The runner for a kind of processor, built unless the same one was built before.

    Raises:
        ConfigurationError: If there is no compiler, or it fails.
    """
    compiler = toolchain.compiler()
    version = run_tool([compiler, "--version"]).splitlines()[0]
    digest = hashlib.sha256("\0".join((compiler, version, *_FLAGS, *_LIBRARIES)).encode())
    digest.update(source_digest().encode())
    target = cache_folder() / f"runner-{digest.hexdigest()[:16]}" / RUNNER
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Built aside and moved: another process may build the same one, or this one be killed.
        with folder_under_way(".building-", target.parent) as folder:
            made = folder / target.name
            command = [compiler, *_FLAGS, str(SOURCES / "main.cpp"), "-o", str(made), *_LIBRARIES]
            run_tool([*command, "-s"])
            made.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"{target.parent} must be writable to build the runner: {error.strerror}; "
            "set PHONELM_CACHE to another folder"
        ) from error
    return target


def host_library() -> Path:
    """ONNX Runtime's shared library in the installed wheel.

    Raises:
        ConfigurationError: If the wheel ships none.
    """
    spec = importlib.util.find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else Path()
    found = sorted(folder.glob("libonnxruntime.so.*"))
    if not found:
        raise ConfigurationError(
            f"the installed onnxruntime must ship libonnxruntime.so, and {folder} has none; "
            "install it from PyPI on Linux"
        )
    return found[0]


def run_tool(command: list[str], *, seconds: float = 600.0) -> str:
    """What a compiler, or its like, prints.

    Raises:
        ConfigurationError: If it fails; with the line that says why.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{name} must run: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise ConfigurationError(f"{name} must succeed: {said.strip()}")
    return done.stdout
