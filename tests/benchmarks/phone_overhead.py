"""What a shape costs on the way to a phone: bytes pushed, and seconds without the run itself.

On a simulated phone with the real adb client: loopback instead of USB, so the seconds are those of
adb's and the phone's commands and of hashing; USB adds about 10 ms a command and the time of the
bytes. The runner's own time under qemu means nothing and is taken off.

    python tests/benchmarks/phone_overhead.py            writes results/phone-overhead.csv
"""

import csv
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from phone.simulated import simulated_phone
from phonelm_search.backends import PhaseJob
from phonelm_search.backends.native import NativeRuntime
from phonelm_search.backends.phone import Phone
from phonelm_search.backends.phone.adb import Adb, AdbPhone, Said
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import REFERENCE, MeasureSettings, jobs
from phonelm_search.stages.profile import known_shapes

SHAPES = ("tiny-llama", "smollm2-135m", "phonelm-0.5b", "phonelm-1.5b")
STEP = PhaseJob(kind="decode", tokens=1, past_tokens=8)
REPEATS = 5
RESULT = Path(__file__).parents[2] / "results/phone-overhead.csv"


class Counting(AdbPhone):
    """Counts commands, and the time of the runner apart."""

    commands = 0
    runner_s = 0.0

    def shell(self, script: str, *, seconds: float | None = None) -> Said:
        began = time.perf_counter()
        said = super().shell(script, seconds=seconds)
        self.commands += 1
        if " run job.json " in script:
            self.runner_s = time.perf_counter() - began
        return said


def main() -> None:
    """Measure and write the table."""
    profile = DeviceProfile(name="sim", connection="adb", runtime="onnxruntime-native", threads=1)
    rows = []
    with tempfile.TemporaryDirectory() as folder, simulated_phone(Path(folder) / "p") as phone:
        Adb().call("connect", phone.serial)
        connection = Counting(Adb(), phone.serial)
        runtime = NativeRuntime(Phone(connection, profile), profile)
        began = time.perf_counter()
        runtime.environment()
        bundle_s = time.perf_counter() - began
        for name in SHAPES:
            shown, shape = known_shapes()[name]
            prepared = jobs.prepare(
                [shape, REFERENCE],
                profile,
                [STEP],
                jobs.ONE_COPY,
                runtime.placement(),
                MeasureSettings(),
                repetitions=0,
            )
            seconds, pushed, commands = [], 0, 0
            for _ in range(REPEATS if shape.parameters < 2e8 else 1):
                before, began = connection.commands, time.perf_counter()
                result = runtime.run(prepared.job, prepared.files)
                seconds.append(time.perf_counter() - began - connection.runner_s)
                pushed = result.conditions["before"]["pushed_bytes"]
                commands = connection.commands - before
            rows.append(
                {
                    "shape": shown,
                    "parameters": shape.parameters,
                    "weight_bytes": shape.weight_bytes(profile.scheme).total,
                    "pushed_bytes": pushed,
                    "shell_commands": commands,
                    "seconds_without_the_run": round(median(seconds), 3),
                }
            )
            print(rows[-1], flush=True)
        print(f"once: bundle pushed and smoke run {bundle_s:.1f} s")
        Adb().call("disconnect", phone.serial)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
