"""What disturbs a loop, seen from inside: processor time, context switches, the system's load."""

import contextlib
import os
import re
import time
from functools import partial

from phonelm_search.backends.base import SystemWindow

_USUAL_BYTES, _MOST_BYTES = 1 << 16, 1 << 24  # of /proc/stat: a core has a line of up to 200
_COLUMNS = 8
_CORE = re.compile(r"^cpu([0-9]{1,6})((?: +[0-9]{1,15}){4,}) *\n", re.MULTILINE | re.ASCII)
_WINDOW_NS = 200_000_000  # twenty ticks of the system's clock: shares to about 5 %


class Watch:
    """Reads counters between the runs of a loop; a reading takes about two microseconds.

    Args:
        cores: Cores that this process may use; the system's load is counted on them alone.
    """

    def __init__(self, cores: frozenset[int]) -> None:
        import resource  # here: not on Windows, where studies are read

        self._cores = cores
        self._usage = partial(resource.getrusage, resource.RUSAGE_SELF)
        self._tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/stat", os.O_RDONLY)
        self.cpu_ns: list[int] = []
        self.switches: list[int] = []
        self.windows: list[SystemWindow] = []
        self._mark = self._counters()
        self._open_window()

    def close(self) -> None:
        """The last sample has ended; the last window counts if it is half as long as the others."""
        if time.perf_counter_ns() - self._opened > _WINDOW_NS / 2:
            self._close_window()
        if self._file is not None:
            os.close(self._file)

    def begin(self) -> None:
        """A sample begins."""
        self._mark = self._counters()

    def end(self) -> None:
        """A sample has ended."""
        cpu_ns, switches = self._counters()
        self.cpu_ns.append(cpu_ns - self._mark[0])
        self.switches.append(switches - self._mark[1])
        self._samples += 1
        if time.perf_counter_ns() - self._opened > _WINDOW_NS:
            self._close_window()
            self._open_window()

    def _counters(self) -> tuple[int, int]:
        return time.process_time_ns(), self._usage().ru_nivcsw

    def _open_window(self) -> None:
        self._samples = 0
        self._opened, self._own = time.perf_counter_ns(), time.process_time_ns()
        self._system = self._system_ns()

    def _close_window(self) -> None:
        after = self._system_ns()
        if self._system is None or after is None or not self._samples:
            return
        wall = time.perf_counter_ns() - self._opened
        own = time.process_time_ns() - self._own
        cores_ns = wall * len(self._cores)
        self.windows.append(
            SystemWindow(
                samples=self._samples,
                wall_ns=wall,
                foreign_share=max(0.0, (after[0] - self._system[0] - own) / cores_ns),
                steal_share=(after[1] - self._system[1]) / cores_ns,
            )
        )

    def _system_ns(self) -> tuple[int, int] | None:
        """Busy and stolen time of the cores since the system's start."""
        if self._file is None:
            return None
        found = parse_stat(_whole(self._file).decode(errors="replace"), self._cores)
        return None if found is None else (found[0] * self._tick_ns, found[1] * self._tick_ns)


def _whole(file: int) -> bytes:
    """All of a file that the kernel makes anew at each read, so that one read must hold it."""
    size = _USUAL_BYTES
    while len(text := os.pread(file, size, 0)) == size and size < _MOST_BYTES:
        size *= 4
    return text


def parse_stat(text: str, cores: frozenset[int]) -> tuple[int, int] | None:
    """Busy and stolen ticks of some cores, from the text of ``/proc/stat`` (proc(5)).

    Older kernels have fewer columns, newer ones more. A core whose line is no such line, or cut
    off, does not count.
    """
    busy = steal = found = 0
    for match in _CORE.finditer(text):
        if int(match[1]) not in cores:
            continue
        ticks = [*map(int, match[2].split()), *[0] * _COLUMNS][:_COLUMNS]
        user, nice, system, _idle, _iowait, irq, softirq, stolen = ticks
        busy += user + nice + system + irq + softirq
        steal += stolen
        found += 1
    return (busy, steal) if found else None
