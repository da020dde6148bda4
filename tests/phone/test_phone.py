"""Jobs on a simulated phone: the contract of every runtime, faults, care, and the arm64 numbers."""

import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from contract import FILES, SHAPE, RuntimeContract, job
from helpers import WORKLOADS, small_shape
from phone.conftest import Plug
from phone.simulated import PROPERTIES, SimulatedPhone
from phonelm_search.backends import Job, Placement, Runtime, get_runtime
from phonelm_search.backends.native import NativeRuntime
from phonelm_search.backends.phone import Phone
from phonelm_search.backends.phone.adb import Adb, AdbPhone
from phonelm_search.core.errors import ConfigurationError, MeasurementError, TransportError
from phonelm_search.devices import DeviceProfile, Thermal
from phonelm_search.measure import Executor, MeasureSettings, Model, jobs, numerics

RUN = r"phonelm-runner \S+ run"
PROBE = r"phonelm-runner \S+ probe"


def profile(**changes: Any) -> DeviceProfile:
    base = {"name": "sim", "connection": "adb", "runtime": "onnxruntime-native", "threads": 1}
    return DeviceProfile(**{**base, **changes})


class Time:
    """A clock that only sleeping moves; what shall happen meanwhile happens at each look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.notes: list[str] = []
        self.meanwhile = lambda: None

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.meanwhile()

    def clock(self) -> float:
        return self.now


def place_on(phone: SimulatedPhone, time: Time | None = None, **changes: Any) -> Phone:
    time = time or Time()
    connection = AdbPhone(Adb(), phone.serial, sleep=time.sleep)
    return Phone(
        connection, profile(**changes), note=time.notes.append, sleep=time.sleep, clock=time.clock
    )


def runtime_on(phone: SimulatedPhone, time: Time | None = None, **changes: Any) -> NativeRuntime:
    return NativeRuntime(place_on(phone, time, **changes), profile(**changes))


def job_for(runtime: Runtime, **changes: Any) -> Job:
    placement = runtime.placement()
    return job(threads=placement.threads, cpus=placement.cpus, **changes)


class TestPhone(RuntimeContract):
    name = "onnxruntime-native"

    @pytest.fixture(autouse=True)
    def _phone(self, phone: SimulatedPhone) -> Iterator[None]:
        self.phone = phone
        yield
        assert self.phone.files() == []  # whatever happened, nothing of a job is left

    def runtime(self, **changes: Any) -> Runtime:
        base = {"threads": 1, "connection": "adb"}
        chosen = profile(**{**base, **changes})
        return get_runtime(chosen, serial=self.phone.serial)

    def test_a_failure_names_its_stage(self) -> None:
        runtime = self.runtime()
        asked = job_for(runtime, execution_provider="FailingExecutionProvider")
        with pytest.raises(MeasurementError, match="stage: load"):
            runtime.run(asked, FILES)


@pytest.mark.parametrize("precision", ["fp32", "int8-b32", "int4-b32"])
def test_arm64_logits_are_the_dequantised_references(phone: SimulatedPhone, precision: str) -> None:
    device = profile(precision=precision)
    runtime = runtime_on(phone, precision=precision)
    shape = numerics.gate_shape(small_shape(hidden_size=256, head_dim=64, intermediate_size=512))
    (check,) = Executor(device, runtime, MeasureSettings()).check_numerics([shape], device)
    limit = 1e-4 if precision == "fp32" else 0.05
    assert check.passed
    assert max(check.prefill_error, check.decode_error) <= limit


def test_arm64_and_this_machine_agree_in_fp32(phone: SimulatedPhone) -> None:
    shape, device = numerics.gate_shape(small_shape()), profile(precision="fp32")
    found = []
    here = DeviceProfile(name="here", runtime="onnxruntime", threads=1)
    for runtime in (runtime_on(phone, precision="fp32"), get_runtime(here)):
        prepared = jobs.prepare(
            [shape], device, numerics.PHASES, jobs.ONE_COPY, Placement(threads=1),
            MeasureSettings(), repetitions=0,
        )  # fmt: skip
        found.append(runtime.run(prepared.job, prepared.files))
    for there, here_too in zip(*(f.phases for f in found), strict=True):
        assert there.logits
        assert here_too.logits
        np.testing.assert_allclose(there.logits.first, here_too.logits.first, atol=1e-4)


def test_a_shape_costs_little_to_push_and_nothing_is_left(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone)
    result = runtime.run(job_for(runtime), FILES)
    assert 0 < result.conditions["before"]["pushed_bytes"] < 1_000_000
    assert phone.files() == []
    pushes = [c for c in phone.commands if "bundle" in c and "mv" in c]
    assert len(pushes) == 1  # the bundle once
    again = runtime_on(phone)
    again.run(job_for(again), FILES)
    assert len([c for c in phone.commands if "bundle" in c and "mv" in c]) == 1


def test_a_spoilt_bundle_is_pushed_again(phone: SimulatedPhone) -> None:
    runtime_on(phone).environment()
    (library,) = phone.root.glob("data/local/tmp/phonelm/bundle-*/libonnxruntime.so.*")
    library.write_bytes(b"spoilt")
    runtime = runtime_on(phone)
    assert runtime.run(job_for(runtime), FILES).ok


def test_where_and_how_it_ran_are_told_apart(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone, cores="big")
    result = runtime.run(job_for(runtime), FILES)
    environment = result.environment
    assert environment == runtime.environment()
    assert environment["device_model"] == "Simulated Qemu 7"
    assert environment["soc"] == "QEMU cortex-a76"
    assert environment["build"] == PROPERTIES["ro.build.fingerprint"]
    assert environment["architecture"] == "aarch64"
    assert environment["runner"] == "glibc"
    assert "asimddp" in environment["capabilities"]
    assert environment["affinity"] == ",".join(map(str, runtime.placement().cpus))
    assert phone.serial not in environment.values()
    before, after = result.conditions["before"], result.conditions["after"]
    assert before["serial"] == phone.serial
    assert (before["phone_temperature_c"], before["battery_level"]) == (31.0, 80)
    assert after["thermal_status"] == 0
    assert before["temperature_c"] == 31.0  # of the processor, not of the hotter charger
    assert before["battery_current_ua"] == -412_000


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("drop", RUN),
        ("drop", "getprop|rm -rf"),
        ("drop", "sha256sum"),
        ("partial push", "model.onnx"),
        ("partial push after 1 byte", "libonnxruntime"),
    ],
)
def test_a_connection_that_comes_back_costs_time_and_no_result(
    phone: SimulatedPhone, kind: str, match: str
) -> None:
    time = Time()
    name, _, some = kind.partition(" after ")
    phone.fault(name, match, after_bytes=1 if some else 0)
    runtime = runtime_on(phone, time)
    result = runtime.run(job_for(runtime), FILES)
    assert [len(p.samples_ns) for p in result.phases] == [7, 7]
    assert time.slept == [1.0]
    assert phone.files() == []


def test_a_restart_in_the_middle_of_a_job_is_survived(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone)
    asked = job_for(runtime)
    runtime.environment()
    restarted: list[float] = []

    def restart_once() -> None:
        if not restarted:
            restarted.append(1)
            phone.restart_from_within(0.3)

    phone.during_run = restart_once
    assert runtime.run(asked, FILES).ok
    assert restarted


@pytest.mark.parametrize(
    ("kind", "stage", "message"),
    [
        ("wrong tag", "protocol", "carry tag t1, got 4 and 0000000000000000"),
        ("truncated", "protocol", "malformed"),
        ("killed", "memory", "ended by SIGKILL; most likely memory ran out"),
    ],
)
def test_a_result_that_cannot_be_trusted_is_one_failed_job(
    phone: SimulatedPhone, kind: str, stage: str, message: str
) -> None:
    runtime = runtime_on(phone)
    asked = job_for(runtime, max_seconds=0.5, repetitions=100_000)
    phone.fault(kind, RUN)
    with pytest.raises(MeasurementError, match=message) as caught:
        runtime.run(asked, FILES)
    assert caught.value.stage == stage
    assert phone.files() == []
    assert runtime.run(job_for(runtime), FILES).ok  # and the next one works


def test_a_full_phone_is_said(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone)
    asked = job_for(runtime)
    phone.fault("disk full", "model.onnx")
    with pytest.raises(MeasurementError, match="must have free storage") as caught:
        runtime.run(asked, FILES)
    assert caught.value.stage == "storage"
    assert runtime.run(asked, FILES).ok
    assert phone.files() == []


def test_a_hanging_runner_and_a_hanging_phone_are_told_apart(
    phone: SimulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.backends.native.runtime._GRACE_SECONDS", 0.5)
    monkeypatch.setattr(
        "phonelm_search.backends.native.runtime.time_limit_seconds", lambda job: 1.0
    )
    runtime = runtime_on(phone)
    asked = job_for(runtime)
    runtime.environment()
    phone.fault("hang", RUN)
    with pytest.raises(MeasurementError, match="must finish within") as caught:
        runtime.run(asked, FILES)
    assert caught.value.stage == "timeout"
    phone.silent = True  # everything hangs from now on
    monkeypatch.setattr("phonelm_search.backends.phone.adb._SHORT_SECONDS", 0.5)
    with pytest.raises(TransportError, match="adb must answer within"):
        runtime.run(asked, FILES)
    phone.silent = False
    monkeypatch.undo()
    assert runtime.run(asked, FILES).ok


def test_a_leftover_runner_is_ended_before_the_next_job(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone)
    runtime.environment()
    folder = phone.root / "data/local/tmp/phonelm/job-0123"
    folder.mkdir()
    left = subprocess.Popen(["sh", "-c", "sleep 600; : phonelm-runner"])
    (folder / "pid").write_text(f"{left.pid}\n")
    other = subprocess.Popen(["sleep", "600"])
    stranger = phone.root / "data/local/tmp/phonelm/job-4567"
    stranger.mkdir()
    (stranger / "pid").write_text(f"{other.pid}\n")  # a number that was given to another one
    try:
        runtime.run(job_for(runtime), FILES)
        assert left.wait(10) == -9
        assert other.poll() is None
        assert phone.files() == []
    finally:
        left.kill()
        other.kill()


def test_too_little_memory_is_said_before_anything_is_pushed(phone: SimulatedPhone) -> None:
    runtime = runtime_on(phone)
    asked = job_for(runtime)
    (phone.root / "proc/meminfo").write_text("MemAvailable: 1000 kB\n")
    count = len(phone.commands)
    with pytest.raises(MeasurementError, match=r"copies of the weights need about .* 1.02 MB are"):
        runtime.run(asked, FILES)
    assert len(phone.commands) == count + 1


def test_a_warm_phone_cools_down_before_it_is_timed(phone: SimulatedPhone) -> None:
    time = Time()
    runtime = runtime_on(phone, time, thermal=Thermal(highest_start_c=40, longest_cooldown_s=60))
    asked = job_for(runtime)
    runtime.environment()
    phone.set_temperature(52)
    time.meanwhile = lambda: phone.set_temperature(phone.temperature - 4)
    before = runtime.run(asked, FILES).conditions["before"]
    assert before["cooldown_s"] == 15.0
    assert before["phone_temperature_c"] == 40.0
    assert time.slept == [5.0, 5.0, 5.0]
    (note,) = time.notes
    assert note == f"{phone.serial} cools down (52 °C) to 40 °C, for 60 s at most"


@pytest.mark.usefixtures("small_reference")
def test_a_phone_that_stays_hot_is_measured_after_a_while_and_never_valid(
    phone: SimulatedPhone,
) -> None:
    time = Time()
    limits = Thermal(highest_start_c=40, longest_cooldown_s=30)
    device = profile(thermal=limits, cache="warm")
    executor = Executor(device, runtime_on(phone, time, thermal=limits), FAST)
    phone.set_temperature(55)
    made = round_of(executor)
    assert sum(time.slept) == 30
    for m in made:
        assert m.verdict == "suspect"
        (reason,) = [r.text for r in m.reasons if "°C" in r.text]
        assert "the round began at 55 °C, above 40 °C, after 30 s of waiting" in reason


@pytest.mark.usefixtures("small_reference")
def test_a_round_of_a_phone_that_heats_up_or_throttles_meanwhile_is_not_valid(
    phone: SimulatedPhone,
) -> None:
    executor = Executor(profile(cache="warm"), runtime_on(phone), FAST)
    phone.warming_c_per_s = 40.0
    (m, *_) = round_of(executor)
    phone.warming_c_per_s = 0.0
    phone.set_temperature(31.0)
    assert any("cores' highest frequencies" in r.text for r in m.reasons)
    assert m.verdict != "valid"  # held from the start, or lower at the end

    def throttle() -> None:
        (phone.root / "system/thermalservice").write_text("Thermal Status: 2\n")

    phone.during_run = throttle
    (m, *_) = round_of(executor)
    assert any("its thermal status rose from 0 to 2" in r.text for r in m.reasons)
    assert m.verdict == "rejected"


FAST = MeasureSettings(
    rounds=1, most_rounds=1, repetitions=5, max_seconds=0.05, warmup_window_seconds=0.05
)


def round_of(executor: Executor) -> list[Any]:
    return executor.round([Model(shape=SHAPE)], WORKLOADS).models[0]


def test_one_of_two_connected_phones_must_be_named(plug: Plug) -> None:
    first, second = plug(), plug(properties={"ro.product.model": "Other"})
    with pytest.raises(ConfigurationError, match="more than one does; connected: 127"):
        Phone.connect(profile(), None)
    assert Phone.connect(profile(), second.serial).serial == second.serial
    fits = profile(match={"ro.product.model": "Other"})
    assert Phone.connect(fits, None).serial == second.serial
    with pytest.raises(
        ConfigurationError, match=r"ro\.product\.model must be 'Other', got 'Qemu 7'"
    ):
        Phone.connect(fits, first.serial)
    with pytest.raises(ConfigurationError, match="none does"):
        Phone.connect(profile(match={"ro.product.model": "$(reboot)"}), None)


def test_a_phone_is_used_by_one_job_at_a_time(
    phone: SimulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.backends.phone.phone._LOCK_SECONDS", 0.2)
    place, other = place_on(phone), place_on(phone)
    with place._alone(), pytest.raises(TransportError, match="one process at a time") as caught:
        other.start(["probe"], {}, seconds=10)
    assert not caught.value.retry


def test_cores_that_are_not_there_are_named(phone: SimulatedPhone) -> None:
    with pytest.raises(ConfigurationError, match=r"cores of 127.* must be among 0.*, got 77"):
        runtime_on(phone, cores=(77,)).placement()
