"""What a phone is given: the runner, ONNX Runtime, and, for one flavour, a C library of its own.

``glibc``: runner, loader and libraries of the cross toolchain and the aarch64 wheel's ONNX
Runtime, of the same version as this machine's; needs no NDK. ``android``: built by the NDK, with
the ONNX Runtime of an Android archive (AAR); NNAPI, XNNPACK and QNN need it. A bundle is named by
its content.
"""

import hashlib
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Literal

from phonelm_search.backends.native import (
    ARM64,
    RUNNER,
    SOURCES,
    build_runner,
    cache_folder,
    run_tool,
    source_digest,
)
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.work import folder_under_way

Flavour = Literal["glibc", "android"]
_LOADER = "ld-linux-aarch64.so.1"
_LIBRARIES = (
    "libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libstdc++.so.6",
    "libgcc_s.so.1",
)  # fmt: skip
ACCELERATOR, BACKEND = "libonnxruntime_providers_qnn.so", "libQnnHtp.so"
"""The NPU's execution provider, and what it loads."""
_ABI, _API = "arm64-v8a", "android-24"
_PLATFORM = "manylinux_2_28_aarch64"
_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Files for a phone."""

    flavour: Flavour
    """Which C library it is built for."""
    files: Mapping[str, Path]
    """Where they are here, by their name there."""
    library: str
    """Which of them is ONNX Runtime."""

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        found = {}
        for name, path in sorted(self.files.items()):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    @property
    def name(self) -> str:
        """The bundle's folder on a phone: a digest of all contents."""
        lines = "".join(f"{name} {digest}\n" for name, digest in self.hashes.items())
        return f"bundle-{self.flavour}-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def command(self, folder: str) -> list[str]:
        """The words that start the runner from its folder on a phone, up to the library."""
        runner, library = f"{folder}/{RUNNER}", f"{folder}/{self.library}"
        if self.flavour == "android":
            if ACCELERATOR not in self.files:
                return [runner, library]
            # Where the provider finds its libraries, and its part on the chip's own processor.
            return ["env", f"LD_LIBRARY_PATH={folder}", f"ADSP_LIBRARY_PATH={folder}", runner,
                    library]  # fmt: skip
        return [f"{folder}/{_LOADER}", "--library-path", folder, runner, library]


def glibc_bundle() -> Bundle:
    """The flavour that needs no NDK; the aarch64 wheel must have been prepared.

    Raises:
        ConfigurationError: If the compiler or the wheel's library is not there.
    """
    library = _wheel_library()
    if not library.exists():
        raise ConfigurationError(
            f"phones need ONNX Runtime {version('onnxruntime')} for aarch64 and it was not "
            "fetched yet; run `phonelm-search devices prepare` once (it downloads a wheel)"
        )
    compiler = ARM64.compiler()
    found = {name: Path(run_tool([compiler, f"-print-file-name={name}"]).strip())
             for name in (_LOADER, *_LIBRARIES)}  # fmt: skip
    missing = [name for name, path in found.items() if not path.is_absolute()]
    if missing:
        raise ConfigurationError(
            f"{compiler} must come with {', '.join(missing)}; on Debian: apt-get install "
            "libc6-arm64-cross libstdc++6-arm64-cross"
        )
    files = {RUNNER: build_runner(ARM64), library.name: library, **found}
    return Bundle(flavour="glibc", files=files, library=library.name)


def android_bundle() -> Bundle | None:
    """The flavour that the NDK builds, if it was prepared."""
    folder = _android_folder()
    if not folder.is_dir():
        return None
    files = {path.name: path for path in sorted(folder.iterdir())}
    return Bundle(flavour="android", files=files, library="libonnxruntime.so")


def accelerator_names(bundle: Bundle) -> tuple[str, str]:
    """Names of the NPU's execution provider and of its backend in a bundle.

    Raises:
        ConfigurationError: If the bundle has none.
    """
    missing = [name for name in (ACCELERATOR, BACKEND) if name not in bundle.files]
    if missing:
        raise ConfigurationError(
            f"the {bundle.flavour} build must hold {' and '.join(missing)} and does not; "
            "`phonelm-search devices prepare --ndk FOLDER --ort-aar FILE --qnn-aar FILE` with the "
            "archives of onnxruntime-qnn and of Qualcomm's runtime"
        )
    return ACCELERATOR, BACKEND


def fetch_wheel() -> Path:
    """Download the aarch64 wheel of this machine's ONNX Runtime and keep its library.

    Raises:
        ConfigurationError: If it cannot be had.
    """
    library = _wheel_library()
    if library.exists():
        return library
    wanted = f"onnxruntime=={version('onnxruntime')}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", f"--platform={_PLATFORM}"]
    with _made(library.parent) as folder:
        run_tool([*command, f"--dest={folder}", wanted], seconds=_SECONDS)
        (wheel,) = folder.glob("*.whl")
        name = f"onnxruntime/capi/{library.name}"
        _extract(wheel, name, folder / library.name)
        wheel.unlink()
    return library


def build_android(ndk: Path, archive: Path, accelerator: Sequence[Path] = ()) -> Bundle:
    """Build the Android flavour with an NDK and the ONNX Runtime of an AAR.

    Args:
        ndk: Folder of the NDK.
        archive: AAR of ONNX Runtime.
        accelerator: AARs of an NPU's execution provider and runtime; all their libraries go along.

    Raises:
        ConfigurationError: If one of them is not what it must be, or the build fails.
    """
    toolchain = ndk / "build/cmake/android.toolchain.cmake"
    if not toolchain.exists():
        raise ConfigurationError(f"--ndk must be the folder of an Android NDK, {toolchain} is not")
    with _made(_android_folder()) as folder, folder_under_way("phonelm-build-") as build:
        _extract(archive, f"jni/{_ABI}/libonnxruntime.so", folder / "libonnxruntime.so")
        for other in accelerator:
            _extract_libraries(other, folder)
        build_with_cmake(
            build,
            f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",
            f"-DANDROID_ABI={_ABI}",
            f"-DANDROID_PLATFORM={_API}",
            "-DANDROID_STL=c++_static",
        )
        shutil.copy(build / RUNNER, folder / RUNNER)
    made = android_bundle()
    assert made is not None
    return made


def build_with_cmake(build: Path, *definitions: str) -> Path:
    """Build the runner in a folder; its path."""
    if shutil.which("cmake") is None:
        raise ConfigurationError(
            "the Android flavour needs cmake on PATH and it is not there; pip install cmake"
        )
    command = ["cmake", "-S", str(SOURCES), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
    run_tool([*command, *definitions], seconds=_SECONDS)
    run_tool(["cmake", "--build", str(build)], seconds=_SECONDS)
    return build / RUNNER


def _wheel_library() -> Path:
    release = version("onnxruntime")
    return cache_folder() / f"onnxruntime-{release}-aarch64" / f"libonnxruntime.so.{release}"


def _android_folder() -> Path:
    return cache_folder() / f"android-arm64-{source_digest()}"


@contextmanager
def _made(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes ``target``'s place once it is complete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder_under_way(f".{target.name}-", target.parent) as under_way:
            folder = under_way / target.name
            folder.mkdir()
            yield folder
            shutil.rmtree(target, ignore_errors=True)
            folder.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"{target} must be writable: {error.strerror}; set PHONELM_CACHE to another folder"
        ) from error


def _extract_libraries(archive: Path, folder: Path) -> None:
    """All of an archive's libraries for the phone, but for ONNX Runtime itself."""
    try:
        with zipfile.ZipFile(archive) as file:
            names = [n for n in file.namelist() if n.startswith(f"jni/{_ABI}/lib")]
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{archive} must be an archive (AAR): {error}") from error
    if not names:
        raise ConfigurationError(f"{archive} must hold libraries in jni/{_ABI}, it has none")
    for name in names:
        target = folder / PurePosixPath(name).name
        if not target.exists():
            _extract(archive, name, target)


def _extract(archive: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file, file.open(member) as source, target.open("wb") as to:
            shutil.copyfileobj(source, to)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ConfigurationError(
            f"{archive} must be an archive that holds {member}: {error}"
        ) from (error)
