"""What a phone is given: its flavours, and which one it gets."""

import re
import zipfile
from pathlib import Path

import pytest

from contract import FILES
from phone.simulated import SimulatedPhone
from phone.test_phone import PROBE, Time, job_for, runtime_on
from phonelm_search.backends.native import RUNNER, cache_folder
from phonelm_search.backends.phone import build_android, bundle, glibc_bundle
from phonelm_search.backends.phone.bundle import accelerator_names, android_bundle
from phonelm_search.core.errors import ConfigurationError, MeasurementError


def test_a_refused_system_call_is_explained(phone: SimulatedPhone) -> None:
    phone.fault("status", PROBE)
    with pytest.raises(MeasurementError, match=r"status 159 \(SIGSYS\); build it with .*--ndk"):
        runtime_on(phone).environment()


def archive(folder: Path) -> Path:
    """An AAR as ONNX Runtime's, but of glibc's library: no NDK can be had here."""
    made = folder / "ort.aar"
    with zipfile.ZipFile(made, "w") as file:
        ours = glibc_bundle()
        file.write(ours.files[ours.library], "jni/arm64-v8a/libonnxruntime.so")
    return made


def ndk(folder: Path) -> Path:
    """An NDK whose tool chain is the cross compiler."""
    toolchain = folder / "ndk/build/cmake/android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True)
    toolchain.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n"
        "set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)\n"
    )
    return folder / "ndk"


def test_where_glibc_is_refused_the_android_build_is_used_and_that_is_said(
    phone: SimulatedPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = cache_folder()
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    for part in shared.iterdir():  # what is prepared is prepared for this test, too
        if part.name.startswith(("onnxruntime-", "runner-")):
            (tmp_path / "cache").mkdir(exist_ok=True)
            (tmp_path / "cache" / part.name).symlink_to(part)
    made = build_android(ndk(tmp_path), archive(tmp_path))
    assert sorted(made.files) == ["libonnxruntime.so", "phonelm-runner"]
    phone.fault("status", PROBE)
    time = Time()
    runtime = runtime_on(phone, time)
    assert runtime.environment()["runner"] == "android"
    (note,) = time.notes
    assert "refuses system calls of the glibc build (status 159)" in note
    assert runtime.run(job_for(runtime), FILES).ok
    other = runtime_on(phone, execution_provider="XnnpackExecutionProvider")
    assert other.environment()["runner"] == "android"


def test_an_npus_libraries_go_along_and_are_found_on_the_phone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort = archive(tmp_path)
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bundle, "build_with_cmake", lambda build, *_: (build / RUNNER).touch())
    shared = ("libonnxruntime_providers_qnn.so", "libonnxruntime.so")  # the latter is ours
    theirs = ("libQnnHtp.so", "libQnnHtpV75Stub.so", "libQnnHtpV75Skel.so")
    for name, files in (("provider.aar", shared), ("runtime.aar", theirs)):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for library in files:
                file.writestr(f"jni/arm64-v8a/{library}", b"not ours")
                file.writestr(f"jni/x86_64/{library}", b"of another machine")
    accelerator = [tmp_path / "provider.aar", tmp_path / "runtime.aar"]
    with_all = build_android(ndk(tmp_path), ort, accelerator)
    assert set(with_all.files) == {"phonelm-runner", *shared, *theirs}
    assert with_all.files["libonnxruntime.so"].read_bytes() != b"not ours"
    assert accelerator_names(with_all) == ("libonnxruntime_providers_qnn.so", "libQnnHtp.so")
    assert with_all.command("/f")[:4] == [
        "env", "LD_LIBRARY_PATH=/f", "ADSP_LIBRARY_PATH=/f", "/f/phonelm-runner",
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "empty.aar", "w") as file:
        file.writestr("classes.jar", b"")
    with pytest.raises(ConfigurationError, match=r"empty.aar must hold libraries in jni/arm64"):
        build_android(ndk(tmp_path / "b"), ort, [tmp_path / "empty.aar"])
    with pytest.raises(ConfigurationError, match=r"provider.aar2 must be an archive"):
        build_android(ndk(tmp_path / "c"), ort, [tmp_path / "provider.aar2"])


def test_without_an_npus_libraries_it_says_how_to_get_them() -> None:
    with pytest.raises(ConfigurationError, match=r"the glibc build must hold .* --qnn-aar FILE"):
        accelerator_names(glibc_bundle())


def test_an_archive_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.aar").write_bytes(b"no zip")
    with pytest.raises(ConfigurationError, match=r"bad.aar must be an archive that holds jni/arm"):
        build_android(ndk(tmp_path), tmp_path / "bad.aar")
    assert android_bundle() is None


def test_a_provider_of_androids_needs_androids_build(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone, execution_provider="XnnpackExecutionProvider")
    with pytest.raises(ConfigurationError, match="XnnpackExecutionProvider needs the Android"):
        runtime.environment()


def test_the_bundle_is_named_by_its_content() -> None:
    found = glibc_bundle()
    assert re.fullmatch(r"bundle-glibc-[0-9a-f]{16}", found.name)
    assert found.name == glibc_bundle().name
    assert {"phonelm-runner", "ld-linux-aarch64.so.1", found.library} <= set(found.files)
    assert found.size < 50e6
