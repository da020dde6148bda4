"""What a person types, with a simulated phone plugged in: from `devices add` to the pick."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from phone.conftest import Plug
from phone.simulated import WORKER, SimulatedPhone
from phonelm_search.backends.phone.adb import Adb
from phonelm_search.cli.main import run_command
from phonelm_search.devices import load_device
from phonelm_search.stages.new_phone import profile_name
from phonelm_search.store import Store

HOSTILE = "x\"'; $(touch pwned) `touch pwned`\\"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> None:
    assert run_command(list(words)) == 0


@pytest.mark.usefixtures("quick_flow")
def test_from_a_plugged_in_phone_to_the_pick(
    plug: Plug, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever a phone calls itself reaches no shell and no other line.
    phone = plug(properties={"ro.product.model": HOSTILE, "ro.build.fingerprint": "a\x1b[31m#"})
    call("devices", "add", "--serial", phone.serial, "--name", "odd", "--scenario", "chat=8:4")
    told = capsys.readouterr()
    assert "first latency: prefill" in told.out
    file = Path("device_profiles/odd.yaml")
    text = file.read_text()
    assert text.startswith(f"# Simulated {HOSTILE}, QEMU cortex-a76; a?[31m#\n")
    assert "# Tried on the reference shape" in text
    profile = load_device("odd")
    assert profile.match == {"ro.product.model": HOSTILE, "ro.soc.model": "cortex-a76"}
    assert (profile.connection, profile.runtime) == ("adb", "onnxruntime-native")

    # Copies that exceed a phone's caches take minutes to make under qemu.
    file.write_text(text.replace("cache: cold", "cache: warm"))
    run = ("run", "tiny", "--device", "odd", "--trials", "2", "--score-top", "2")
    how = ("--scenario", "chat=8:4", "--tokens-per-parameter", "0.02", "--proxy-parameters", "60k")
    capsys.readouterr()
    call(*run, *how, "--serial", phone.serial, "--json")
    document = json.loads(capsys.readouterr().out)
    (picked,) = [r for r in document["rows"] if r["pick"]]
    assert picked["device"] == "odd"
    assert picked["latency_ms"] > 0
    assert picked["peak_bytes"] > 1_000_000

    rows = Store(Path("results")).measurements()
    arm = [m for m in rows if m.environment.get("architecture") == "aarch64"]
    assert arm == rows
    assert {m.conditions["before"]["serial"] for m in rows} == {phone.serial}
    assert max(m.conditions["before"]["pushed_bytes"] for m in rows) <= 1_000_000 * 5
    study = Path("results/tiny.odd")
    for name in ("plots/front.png", "plots/training.png", "front.csv", "winner/config.json"):
        assert (study / name).stat().st_size > 0
    assert phone.files() == []
    assert not list(Path().rglob("pwned"))
    assert not list(phone.root.rglob("pwned"))
    # A second run has nothing to measure, and asks the phone only who it is.
    jobs = sum(" run " in c for c in phone.commands)
    call(*run, *how, "--serial", phone.serial)
    assert sum(" run " in c for c in phone.commands) == jobs


@pytest.mark.usefixtures("quick_rounds", "small_reference")
def test_a_phone_that_goes_away_stops_the_search_with_one_line(
    phone: SimulatedPhone, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.backends.phone.adb._BACK_OFF_SECONDS", (0.1, 0.1, 0.1))
    write_warm_profile()
    phone.during_run = unplug_at_the_second_job(phone)
    words = ["search", "tiny", "--device", "sim", "--trials", "2", "--scenario", "chat=8:4"]
    assert run_command([*words, "--serial", phone.serial]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("phonelm-search:")]
    assert phone.serial in line
    assert "stage: transport" in line


def unplug_at_the_second_job(phone: SimulatedPhone):  # type: ignore[no-untyped-def]
    count = 0

    def act() -> None:
        nonlocal count
        count += 1
        if count == 2:
            phone._unplug()

    return act


def write_warm_profile(**changes: object) -> None:
    content = {
        "name": "sim",
        "connection": "adb",
        "runtime": "onnxruntime-native",
        "threads": 1,
        "cache": "warm",
        **changes,
    }
    folder = Path("device_profiles")
    folder.mkdir(exist_ok=True)
    (folder / "sim.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.usefixtures("quick_rounds", "small_reference")
@pytest.mark.parametrize("lost", [False, True], ids=["both stay", "one is lost for good"])
def test_two_phones_share_the_shapes(
    plug: Plug, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr("phonelm_search.backends.phone.adb._BACK_OFF_SECONDS", (0.1, 0.1, 0.1))
    first, second = plug(), plug(properties={"ro.serialno": f"SIM0002{WORKER}"})
    write_warm_profile()
    if lost:
        second.during_run = unplug_at_the_second_job(second)
    words = ["profile", "shallow/config.json", "deep/config.json", "--device", "sim"]
    where = ["--serial", first.serial, "--serial", second.serial]
    for name, layers in (("shallow", 1), ("deep", 3)):
        Path(name).mkdir()
        config = {**TINY_CONFIG, "num_hidden_layers": layers}
        Path(f"{name}/config.json").write_text(json.dumps(config))
    call(*words, "--prompt-tokens", "8", "--context-tokens", "8", *where, "--json")
    told = capsys.readouterr()
    assert all(r["latency_ms"] > 0 for r in json.loads(told.out)["rows"])
    serials = {
        m.conditions["before"]["serial"]
        for m in Store(Path("results")).measurements()
        if m.weights_source == "memory"
    }
    assert serials == ({first.serial} if lost else {first.serial, second.serial})
    assert ("the other phones go on" in told.err) == lost


TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": 320,
}


@pytest.mark.parametrize(
    ("model", "name"), [("Pixel 8 Pro", "pixel-8-pro"), (HOSTILE, "x-touch-pwned-touch-pwned")]
)
def test_a_profile_is_named_after_the_model(model: str, name: str) -> None:
    assert profile_name(model) == name
    assert profile_name("小米") == "phone"


def test_the_list_says_which_phone_fits_which_profile(
    plug: Plug, capsys: pytest.CaptureFixture[str]
) -> None:
    phone, other = plug(), plug(properties={"ro.product.model": "Other"})
    write_warm_profile(match={"ro.product.model": "Other"})
    call("devices", "list", "--json")
    document = json.loads(capsys.readouterr().out)
    fits = {r["device"]: r["phones"] for r in document["rows"]}
    assert sorted(fits["android-arm64"]) == sorted([phone.serial, other.serial])
    assert fits["sim"] == [other.serial]
    assert fits["host-cpu"] == []
    found = {c["serial"]: c["fits"] for c in document["connected"]}
    assert found[other.serial] == ["sim", "android-arm64"]


def test_the_doctor_finds_nothing_wrong_with_a_good_phone(
    phone: SimulatedPhone, capsys: pytest.CaptureFixture[str]
) -> None:
    call("devices", "doctor", "--serial", phone.serial, "--json")
    checks = json.loads(capsys.readouterr().out)["rows"]
    names = ["adb", "connection", "storage", "memory", "temperature", "model", "cores", "runner"]
    assert [c["name"] for c in checks] == names
    assert all(c["ok"] and c["remedy"] is None for c in checks)


def test_the_doctor_names_each_ill_and_its_remedy(
    plug: Plug, capsys: pytest.CaptureFixture[str]
) -> None:
    phone = plug()
    phone.set_temperature(61)
    (phone.root / "proc/meminfo").write_text("MemAvailable: 200000 kB\n")
    assert run_command(["devices", "doctor", "--serial", phone.serial]) == 1
    out = capsys.readouterr().out
    assert "FAIL  memory: 205 MB available\n      → close apps" in out
    assert "FAIL  temperature: 61 °C, thermal status 0\n      → let it cool down below 45" in out
    closed = plug(connect=False)
    closed.authorised = False
    Adb().call("connect", closed.serial)
    assert run_command(["devices", "doctor", "--serial", closed.serial]) == 1
    assert "FAIL  connection" in capsys.readouterr().out
    assert run_command(["devices", "doctor", "--serial", "nobody"]) == 1
    assert "nobody is absent\n      → plug it in" in capsys.readouterr().out


def test_what_was_not_prepared_is_said(
    phone: SimulatedPhone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "empty"))
    assert run_command(["devices", "check", "android-arm64", "--serial", phone.serial]) == 1
    assert "run `phonelm-search devices prepare` once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "tiny", "--serial", "x"], "--serial is for phones, and none of the"),
        (["profile", "tiny-llama", "--serial", "x"], "none of the devices is one"),
        (["search", "tiny", "--device", "android-arm64", "--serial", "a;b"], "a serial must be"),
        (["devices", "prepare", "--ndk", "/x"], "--ndk and --ort-aar must be given together"),
        (["devices", "prepare", "--qnn-aar", "/x"], "--ndk and --ort-aar must be given together"),
        (["devices", "prepare", "--ndk", "/x", "--ort-aar", "/y"], "must be the folder of an And"),
        (["devices", "add", "--serial", "absent"], "absent must be connected"),
        (
            ["devices", "add", "--serial", "absent", "--precision", "qdq-a16w8"],
            "devices add: CPUExecutionProvider takes a precision of fp32",
        ),
    ],
)
def test_wrong_use_is_one_line(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phonelm_search.backends.phone.adb._BACK_OFF_SECONDS", ())
    assert run_command(words) == 1
    assert message in capsys.readouterr().err


def test_a_phone_that_computes_wrong_gets_no_profile(
    phone: SimulatedPhone, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.fault("wrong logits", r"phonelm-runner \S+ run")
    assert run_command(["devices", "add", "--serial", phone.serial]) == 1
    assert "must be within 0.05 of the dequantised reference" in capsys.readouterr().err
    assert not Path("device_profiles").exists()


def test_a_dry_run_needs_no_phone_and_counts_its_cooling_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds = []
    for longest in (0, 1000):
        write_warm_profile(thermal={"longest_cooldown_s": longest})
        call("run", "tiny", "--device", "sim", "--dry-run", "--json")
        seconds.append(json.loads(capsys.readouterr().out)["search_seconds"])
    assert seconds[1] > seconds[0] + 500


def test_a_profile_that_is_there_is_not_overwritten(
    phone: SimulatedPhone, capsys: pytest.CaptureFixture[str]
) -> None:
    write_warm_profile()
    before = Path("device_profiles/sim.yaml").read_text()
    assert run_command(["devices", "add", "--serial", phone.serial, "--name", "sim"]) == 1
    assert "device_profiles/sim.yaml must not exist yet" in capsys.readouterr().err
    assert Path("device_profiles/sim.yaml").read_text() == before
    shutil.rmtree("device_profiles")
