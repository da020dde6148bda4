"""A phone that is none: it speaks adb to the real client and runs the arm64 runner under qemu.

`PYTHONPATH=tests python -m phone.play [PORT...]` starts one (or more) to play with.

Latencies under qemu mean nothing. What can be seen here is that everything is pushed, started,
computed, checked and cleaned up as on a phone, and what happens when something goes wrong.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phone.wire import (
    A_AUTH,
    A_CNXN,
    EXIT,
    FEATURES,
    MOST_BYTES,
    STDERR,
    STDOUT,
    VERSION,
    Connection,
    Dropped,
    Stream,
    sync_service,
)

_OURS = re.compile(r"(?<![\w./-])(/data/local/tmp|/sys/|/proc/meminfo|/proc/cpuinfo|/system/)")
_LOADER = re.compile(r"(\S+/ld-linux-aarch64\.so\.1 --library-path)")
_ANDROID = re.compile(r"(\S+/bundle-android-\S+/phonelm-runner )")
_LIBRARIES = "/usr/aarch64-linux-gnu/lib"  # in place of bionic, which cannot be had here
_CPUINFO = """processor\t: {n}
BogoMIPS\t: 38.40
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 0

"""
# What differs between two commands of one kind: the folder, and the tag of the answer.
_PASSING = re.compile(r"job-[0-9a-f]{16}|[0-9a-f]{16}(?= \$\?)")
# Android's own: MirBSD's Korn shell, and toybox.
_SHELL, _TOYBOX, _QEMU = (
    shutil.which(name) or name for name in ("mksh", "toybox", "qemu-aarch64-static")
)
_THROTTLES_C = 60.0
# Phones of one serial are one phone: those of another worker must not be waited for.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
PROPERTIES = {
    "ro.product.manufacturer": "Simulated",
    "ro.product.model": "Qemu 7",
    "ro.soc.manufacturer": "QEMU",
    "ro.soc.model": "cortex-a76",
    "ro.build.fingerprint": "qemu/sim/1:16/AAAA/1:user/release-keys",
    "ro.serialno": f"SIM0001{WORKER}",
}


# What probes answered: qemu takes a second for each, and they say the same on every phone.
_probed: dict[tuple[str, bytes], tuple[int, bytes, bytes]] = {}


@dataclass
class Fault:
    """Something that goes wrong, so many times, with commands or files that match."""

    kind: str
    match: str
    times: int = 1
    after_bytes: int = 0


class SimulatedPhone:
    """One phone on a port of its own.

    Args:
        root: Its files: ``/data/local/tmp``, ``/sys`` and the like below it.
        properties: What ``getprop`` answers.
        port: Where it is reached on loopback; 0: whichever is free.
    """

    def __init__(
        self, root: Path, *, properties: dict[str, str] | None = None, port: int = 0
    ) -> None:
        self.root = root
        self.commands: list[str] = []
        self.authorised = True
        self.answering = True
        self.during_run: Callable[[], None] | None = None
        self.silent = False
        self.warming_c_per_s = 0.0
        self._faults: list[Fault] = []
        self._connections: set[Connection] = set()
        self._properties = {**PROPERTIES, **(properties or {})}
        self._furnish()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = port
        self._server: asyncio.Server | None = None

    # --- what tests do

    def start(self) -> "SimulatedPhone":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def stop(self) -> None:
        self._call(self._unplug)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self._port}"

    def fault(self, kind: str, match: str = "", *, times: int = 1, after_bytes: int = 0) -> None:
        self._faults.append(Fault(kind, match, times, after_bytes))

    def unplug(self) -> None:
        """Gone for good."""
        self._call(self._unplug)

    def restart(self, seconds: float) -> None:
        """Gone, and back on the same port after a while."""
        self._call(lambda: self.restart_from_within(seconds))

    def restart_from_within(self, seconds: float) -> None:
        """The same, for what runs in the phone's own thread."""
        self._unplug()
        self._loop.call_later(seconds, lambda: self._loop.create_task(self._listen()))

    def set_temperature(self, degrees: float) -> None:
        zone = self.root / "sys/class/thermal/thermal_zone0/temp"
        new = zone.with_name(".new")
        new.write_text(f"{round(1000 * degrees)}\n")
        new.replace(zone)  # whoever reads it never sees half of it
        if degrees > _THROTTLES_C:
            for path in (self.root / "sys/devices/system/cpu").glob("cpu*/cpufreq"):
                (path / "scaling_max_freq").write_text("900000\n")

    @property
    def temperature(self) -> float:
        return int((self.root / "sys/class/thermal/thermal_zone0/temp").read_text()) / 1000

    def files(self) -> list[str]:
        """What lies in the phone's temporary folder, without the bundle."""
        base = self.root / "data/local/tmp"
        found = (str(p.relative_to(base)) for p in base.rglob("*") if p.is_file())
        return sorted(f for f in found if "/bundle-" not in f)

    # --- the phone

    def _furnish(self) -> None:
        (self.root / "data/local/tmp").mkdir(parents=True)
        (self.root / "lib").symlink_to(_LIBRARIES)
        cores = sorted(os.sched_getaffinity(0))
        for i, number in enumerate(cores):
            big = i > 0 or len(cores) == 1
            self._write(
                f"sys/devices/system/cpu/cpu{number}/cpu_capacity", "1024" if big else "400"
            )
            cpufreq = f"sys/devices/system/cpu/cpu{number}/cpufreq"
            for name in ("cpuinfo_max_freq", "scaling_cur_freq", "scaling_max_freq"):
                self._write(f"{cpufreq}/{name}", "2800000" if big else "1800000")
            self._write(f"{cpufreq}/scaling_governor", "schedutil")
            self._write(f"sys/devices/system/cpu/cpu{number}/cache/index0/size", "2048K")
        self._write("sys/class/thermal/thermal_zone0/type", "cpu-big-0")
        self._write("sys/class/thermal/thermal_zone0/temp", "31000")
        self._write("sys/class/thermal/thermal_zone1/type", "charger")
        self._write("sys/class/thermal/thermal_zone1/temp", "71000")
        self._write("sys/class/power_supply/battery/current_now", "-412000")
        self._write("proc/cpuinfo", "".join(_CPUINFO.format(n=n) for n in cores))
        # Nothing else runs on this phone, whatever runs on the machine that it is simulated on.
        idle = "".join(f"cpu{n} 0 0 0 0 0 0 0 0 0 0\n" for n in cores)
        self._write("proc/stat", f"cpu 0 0 0 0 0 0 0 0 0 0\n{idle}")
        self._write("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB")
        getprop = "".join(f"[{k}]: [{v}]\n" for k, v in self._properties.items())
        self._write("system/getprop.txt", getprop)
        (self.root / "system/bin").mkdir()
        for name in subprocess.run([_TOYBOX], capture_output=True, text=True).stdout.split():
            (self.root / "system/bin" / name).symlink_to(_TOYBOX)
        self._tool("getprop", f"cat {self.root}/system/getprop.txt")
        self._write("system/battery", "  USB powered: true\n  level: 80\n  temperature: 290")
        self._write("system/thermalservice", "Thermal Status: 0")
        self._tool("dumpsys", f'cat "{self.root}/system/$1"')

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def _tool(self, name: str, script: str) -> None:
        path = self.root / "system/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def _call(self, act: object) -> None:
        done = threading.Event()

        def run() -> None:
            act()  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def _unplug(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._service)
        self._connections.add(connection)
        try:
            command, *_ = await connection.receive()
            assert command == A_CNXN
            if not self.answering:
                await asyncio.sleep(3600)
            while not self.authorised:
                await connection.send(A_AUTH, 1, 0, os.urandom(20))
                _, kind, *_ = await connection.receive()
                if kind == 3:  # a public key: the question is shown, and nobody answers
                    await asyncio.sleep(3600)
            model = self._properties["ro.product.model"]
            banner = f"device::ro.product.model={model};features={FEATURES}"
            await connection.send(A_CNXN, VERSION, MOST_BYTES, banner.encode())
            await connection.serve()
        except (asyncio.IncompleteReadError, ConnectionError, Dropped):
            pass
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _service(self, stream: Stream, name: str) -> None:
        kind, _, command = name.partition(":")
        if kind == "sync":
            await sync_service(stream, self._place, self._refuse)
        elif kind.startswith("shell,v2"):
            await self._shell(stream, command)
        else:
            raise AssertionError(f"the client opens {name}")

    def _place(self, path: str) -> Path:
        return Path(self._mapped(path))

    def _mapped(self, text: str) -> str:
        return _OURS.sub(lambda m: f"{self.root}{m[1]}", text)

    def _due(self, kinds: tuple[str, ...], text: str) -> Fault | None:
        for fault in self._faults:
            if fault.kind in kinds and re.search(fault.match, text):
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
                return fault
        return None

    async def _refuse(self, path: str, done: int) -> str | None:
        if done == 0 and self._due(("disk full",), path):
            return "couldn't write: No space left on device"
        for fault in self._faults:
            due = fault.kind == "partial push" and done >= fault.after_bytes
            if due and re.search(fault.match, path):
                self._due(("partial push",), path)
                raise Dropped
        return None

    async def _shell(self, stream: Stream, command: str) -> None:
        self.commands.append(command)
        fault = self._due(
            ("drop", "hang", "wrong tag", "truncated", "killed", "status", "wrong logits"), command
        )
        kind = fault.kind if fault else None
        if self.silent or kind == "hang":
            await asyncio.sleep(3600)
        if fault and fault.kind == "drop" and not fault.after_bytes:
            raise Dropped
        if self.during_run is not None and " run " in command:
            self.during_run()
        if fault is None and "phonelm-runner" in command and " probe" in command:
            code, out, err = await self._probe(command)
        else:
            code, out, err = await self._execute(command, killed=kind == "killed")
        if kind == "status":
            out = re.sub(rb"(\n[0-9a-f]{16}) \d+\n$", rb"\1 159\n", out)
        if kind == "wrong tag":
            out = re.sub(rb'"tag":"[^"]+"', b'"tag":"0000000000000000"', out)
        if kind == "wrong logits":
            out = re.sub(rb'"first":\[[^\]]+\]', b'"first":[' + b"1.5," * 15 + b"1.5]", out)
        if kind == "truncated":
            body, _, tag = out.rstrip(b"\n").rpartition(b"\n")
            out = body[: len(body) // 2] + b"\n" + tag + b"\n"
        if fault and fault.kind == "drop":
            await stream.packet(STDOUT, out[: fault.after_bytes])
            raise Dropped
        if out:
            await stream.packet(STDOUT, out)
        if err:
            await stream.packet(STDERR, err)
        await stream.packet(EXIT, bytes([code]))

    async def _probe(self, command: str) -> tuple[int, bytes, bytes]:
        """What the runner tells of the phone, from an earlier one with the same processor."""
        processor = (self.root / "proc/cpuinfo").read_bytes()
        key = _PASSING.sub("", command), processor
        *_, tag = _PASSING.findall(command)
        if key not in _probed:
            code, out, err = await self._execute(command, killed=False)
            _probed[key] = code, out.replace(tag.encode(), b"TAG"), err
        code, out, err = _probed[key]
        return code, out.replace(b"TAG", tag.encode()), err

    async def _execute(self, command: str, *, killed: bool) -> tuple[int, bytes, bytes]:
        qemu = f"{_QEMU} -cpu cortex-a76 -L {self.root}"
        script = _LOADER.sub(rf"{qemu} \1", self._mapped(command))
        script = _ANDROID.sub(rf"{qemu} \1", script)
        process = await asyncio.create_subprocess_exec(
            *(_SHELL, "-c", script),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": f"{self.root}/system/bin"},
            start_new_session=True,
        )
        if killed:
            await self._kill_runner()
        warming = asyncio.create_task(self._warm_up())
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGHUP)  # as adbd does with a lost client's commands
            raise
        finally:
            warming.cancel()
        return process.returncode or 0, out, err

    async def _warm_up(self) -> None:
        """The temperature climbs while something runs."""
        while self.warming_c_per_s and self.temperature < 140:
            await asyncio.sleep(0.1)
            self.set_temperature(self.temperature + 0.1 * self.warming_c_per_s)

    async def _kill_runner(self) -> None:
        for _ in range(400):
            await asyncio.sleep(0.05)
            for pid in (self.root / "data/local/tmp/phonelm").glob("job-*/pid"):
                text = pid.read_text().strip()
                if text:
                    os.kill(int(text), signal.SIGKILL)
                    return
        raise AssertionError("no runner was started")


@contextlib.contextmanager
def simulated_phone(root: Path, **options: Any) -> Iterator[SimulatedPhone]:
    """A phone that serves while the block runs."""
    phone = SimulatedPhone(root, **options).start()
    try:
        yield phone
    finally:
        phone.stop()
        shutil.rmtree(root, ignore_errors=True)
