"""Simulated phones to play with: `PYTHONPATH=tests python -m phone.play [PORT...]`."""

import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from phone.simulated import simulated_phone

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for port in [int(word) for word in sys.argv[1:]] or [0]:
            own = {"ro.serialno": f"SIM{port:04}"}
            root = Path(folder) / str(port)
            sim = stack.enter_context(simulated_phone(root, properties=own, port=port))
            print(f"adb connect {sim.serial}; Ctrl-C ends the phone", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
