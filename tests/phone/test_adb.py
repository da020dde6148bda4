"""The connection, with the real adb client: what goes wrong is named and mended, or not trusted."""

import hashlib
import shlex
import time
from contextlib import suppress
from pathlib import Path

import pytest

from phone.conftest import Plug
from phone.simulated import SimulatedPhone
from phonelm_search.backends.phone.adb import Adb, AdbPhone, check_serial, find_adb
from phonelm_search.core.errors import ConfigurationError, MeasurementError, TransportError

FOLDER = "/data/local/tmp/t"
HOSTILE = ("a b", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a'b\"c", "-rf", "*", "a\nb")


class Waits:
    """Sleeps that take no time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def connected(phone: SimulatedPhone, waits: Waits | None = None) -> AdbPhone:
    return AdbPhone(Adb(), phone.serial, sleep=waits or Waits())


def test_exit_codes_and_both_outputs_come_back(phone: SimulatedPhone) -> None:
    said = connected(phone).shell("echo out; echo err >&2; exit 7")
    assert (said.returncode, said.stdout, said.stderr) == (7, "out", "err\n")


def test_output_without_a_newline_at_its_end_is_whole(phone: SimulatedPhone) -> None:
    assert connected(phone).shell("printf 'a\\n\\nb'").stdout == "a\n\nb"
    assert connected(phone).shell("true").stdout == ""


@pytest.mark.parametrize("word", HOSTILE)
def test_words_arrive_as_they_are(phone: SimulatedPhone, word: str) -> None:
    said = connected(phone).shell(shlex.join(["printf", "%s|", word, word]))
    assert said.stdout == f"{word}|{word}|"
    assert not list(Path().glob("pwned"))
    assert not list(phone.root.rglob("pwned"))


@pytest.mark.parametrize("name", [n for n in HOSTILE if "\n" not in n])
def test_file_names_and_folders_arrive_as_they_are(phone: SimulatedPhone, name: str) -> None:
    folder = f"{FOLDER}/{name}"
    assert connected(phone).push({"f": b"content"}, folder) == 7
    assert phone.files() == [f"t/{name}/f"]
    assert not list(phone.root.rglob("pwned"))


@pytest.mark.parametrize(
    "serial", ["a b", "127.0.0.1:5555;reboot", "$(reboot)", "-s", "", "x" * 200, "a\nb", "ü"]
)
def test_hostile_serials_reach_no_command(serial: str) -> None:
    with pytest.raises(ConfigurationError, match="a serial must be letters"):
        check_serial(serial)
    with pytest.raises(ConfigurationError, match="a serial must be letters"):
        AdbPhone(Adb(), serial)


def test_a_drop_in_the_middle_is_no_answer_though_adb_exits_with_0(phone: SimulatedPhone) -> None:
    said = "printf '%s' one two three"
    phone.fault("drop", "one two", after_bytes=4)
    with pytest.raises(TransportError, match=r"answer completely|be connected|be online"):
        connected(phone).shell(said)


def test_a_lost_connection_is_made_again(phone: SimulatedPhone) -> None:
    waits = Waits()
    ours = connected(phone, waits)
    phone.fault("drop", "echo hello", times=2)
    assert ours.retrying(lambda: ours.shell("echo hello")).stdout == "hello"
    assert waits.seconds == [1.0, 2.0]


def test_after_three_more_tries_it_is_lost(phone: SimulatedPhone) -> None:
    waits = Waits()
    ours = connected(phone, waits)
    phone.fault("drop", "echo hello", times=99)
    with pytest.raises(TransportError):
        ours.retrying(lambda: ours.shell("echo hello"))
    assert waits.seconds == [1.0, 2.0, 4.0]


def test_a_hang_ends_at_the_time_limit(phone: SimulatedPhone) -> None:
    phone.fault("hang", "echo hello")
    with pytest.raises(TransportError, match=r"must answer within 1 s and did not \(shell\)"):
        connected(phone).shell("echo hello", seconds=1.0)
    assert connected(phone).shell("echo hello").stdout == "hello"


def test_a_restarted_phone_comes_back(phone: SimulatedPhone) -> None:
    ours = connected(phone)
    phone.restart(0.2)
    assert ours.retrying(lambda: ours.shell("echo hello")).stdout == "hello"


def test_a_phone_that_does_not_trust_us_is_for_a_person(plug: Plug) -> None:
    phone = plug(connect=False)
    phone.authorised = False
    Adb().call("connect", phone.serial)
    waits = Waits()
    ours = connected(phone, waits)
    for _ in range(50):
        if (state := ours.state()) == "unauthorized":
            break
        time.sleep(0.1)
    assert state == "unauthorized"
    with pytest.raises(TransportError, match="unlock it and accept the question"):
        ours.retrying(lambda: ours.shell("true"))
    assert waits.seconds == []


def test_an_offline_phone_comes_back_by_connecting_anew(plug: Plug) -> None:
    phone = plug(connect=False)
    phone.answering = False
    with suppress(TransportError):  # adb itself waits for an answer
        Adb().call("connect", phone.serial, seconds=2.0)
    waits = Waits()
    ours = connected(phone, waits)
    assert ours.state() == "offline"
    with pytest.raises(TransportError, match="must be online, adb says offline"):
        ours.shell("true")
    phone.answering = True
    assert ours.retrying(lambda: ours.shell("echo hello")).stdout == "hello"
    assert waits.seconds == [1.0]


def test_an_absent_phone_is_named() -> None:
    ours = AdbPhone(Adb(), "127.0.0.1:1", sleep=Waits())
    assert ours.state() == "absent"
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1 must be connected"):
        ours.retrying(lambda: ours.shell("true"))


def test_files_arrive_whole_and_are_counted(phone: SimulatedPhone, tmp_path: Path) -> None:
    ours = connected(phone)
    (tmp_path / "big").write_bytes(bytes(range(256)) * 20_000)
    pushed = ours.push({"a": b"1", "b c": tmp_path / "big"}, FOLDER)
    assert pushed == 1 + 256 * 20_000
    assert phone.files() == ["t/a", "t/b c"]
    assert ours.hashes(FOLDER, ["a", "b c", "none"]) == {
        "a": hashlib.sha256(b"1").hexdigest(),
        "b c": hashlib.sha256(bytes(range(256)) * 20_000).hexdigest(),
    }
    assert ours.push({"a": b"2"}, FOLDER) == 1  # takes the old folder's place
    assert phone.files() == ["t/a"]


def test_a_partial_push_is_never_seen_under_its_name(phone: SimulatedPhone) -> None:
    ours = connected(phone)
    phone.fault("partial push", "big", after_bytes=100_000)
    with pytest.raises(TransportError):
        ours.push({"big": bytes(1_000_000)}, FOLDER)
    assert phone.files() == ["t.part/big"]
    assert ours.retrying(lambda: ours.push({"big": bytes(1_000_000)}, FOLDER)) == 1_000_000
    assert phone.files() == ["t/big"]


def test_a_full_storage_is_said_and_not_tried_again(phone: SimulatedPhone) -> None:
    waits = Waits()
    ours = connected(phone, waits)
    phone.fault("disk full", "big")
    with pytest.raises(MeasurementError, match=r"must have free storage: .*No space") as caught:
        ours.retrying(lambda: ours.push({"big": bytes(1000)}, FOLDER))
    assert caught.value.stage == "storage"
    assert waits.seconds == []


def test_without_adb_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="apt-get install adb"):
        find_adb()
