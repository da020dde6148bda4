"""Seconds and memory of every command that reads a study, by the number of its shapes.

    python tests/benchmarks/large_studies.py --label after -o results/large-studies.csv

Builds studies on the fake device in a scratch database, as the store's own records: shapes that
were measured whole in two processes of four models and the reference each, and a study whose
shapes were mostly estimated by an earlier release, some of which failed. The first reading of a
study fits what later readings take from ``results/cache``; it stands in the table as a command of
its own. Rows are added to the file as they come. With ``--server`` the studies lie on a PostgreSQL
server that is started on loopback and goes with them.
"""

import argparse
import contextlib
import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import say

from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.records import (
    LatencyEstimate,
    Measurement,
    StudyRecord,
    StudyShape,
    identity,
)
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import REFERENCE
from phonelm_search.space import enumerate_space, load_space
from phonelm_search.store import Store

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' helpers

from servers import running_server

SPACE = "slm-phone"
SCENARIO = Scenario.parse("chat=256:128")
ENVIRONMENT = {"device_model": "fake", "runtime": "fake"}
DEVICE = DeviceProfile(name="fake-phone", runtime="fake", threads=2)
MODELS, ROUNDS, SAMPLES = 4, 2, 30
_CUT = (-signal.SIGXCPU, -signal.SIGKILL)
COMMANDS: dict[str, tuple[str, ...]] = {
    "studies list": ("studies", "list"),
    "pareto, first reading": ("pareto", "STUDY"),
    "pareto": ("pareto", "STUDY"),
    "studies show": ("studies", "show", "STUDY"),
    "studies check": ("studies", "check", "STUDY"),
    "pareto --all --json": ("pareto", "STUDY", "--all", "--json"),
    "explain": ("explain", "STUDY"),
    "explain A B": ("explain", "STUDY", "A", "B"),
    "export": ("export", "STUDY", "-o", "FOLDER"),
    "report": ("report", "STUDY"),
    "plot --kind all": ("plot", "STUDY", "--kind", "all"),
}


def milliseconds(shape: ModelShape, workload: Workload) -> float:
    """What a shape takes: by its bytes and operators, and something that no price tells."""
    layer = shape.decoder_parameters / shape.num_hidden_layers
    wobble = 1 + 0.02 * np.sin(shape.hidden_size / 90) + 0.01 * np.cos(layer / 3e5)
    if workload.phase == "prefill":
        return float(wobble * (shape.decoder_parameters * workload.tokens / 5e8 + 0.2))
    head = shape.hidden_size * shape.vocab_size
    operators = 0.01 * 11 * shape.num_hidden_layers
    return float(wobble * ((shape.decoder_parameters + head) / 2e7 + operators))


def sessions(shapes: Sequence[ModelShape], seed: int) -> Iterator[Measurement]:
    """Rounds of shapes, in processes that each hold some of them and the reference."""
    random = np.random.default_rng(seed)
    for number in range(ROUNDS):
        order = random.permutation(len(shapes))
        for start in range(0, len(order), MODELS):
            members = [REFERENCE, *(shapes[i] for i in order[start : start + MODELS])]
            random.shuffle(members)  # type: ignore[arg-type]
            process = f"{seed:x}-{number}-{start:x}"
            slow = random.normal(0, 0.03, len(SCENARIO.workloads))
            for place, shape in enumerate(members):
                for workload, common in zip(SCENARIO.workloads, slow, strict=True):
                    off = common + 0.01 * random.standard_t(5)
                    samples = random.normal(0, 0.004, SAMPLES) + off
                    ms = milliseconds(shape, workload) * np.exp(samples)
                    yield Measurement(
                        shape_id=shape.shape_id, device=DEVICE.name,
                        precision=DEVICE.precision.of(workload.phase), workload=workload,
                        cache_mode=DEVICE.cache_mode(workload), copies=1, weights_source="memory",
                        environment=ENVIRONMENT, graph_version=GRAPH_VERSION,
                        protocol_version=PROTOCOL_VERSION, round=number, warmup_ns=(10**6,) * 6,
                        samples_ns=tuple((1e6 * ms).astype(int).tolist()), peak_bytes=None,
                        verdict="valid", reasons=(), notes=(),
                        conditions={"before": {}, "after": {}}, package_version="0",
                        created_at=f"2026-01-{1 + number:02}T00:{start // 4 % 60:02}:00+00:00",
                        process=process, place=place, bandwidth_bytes_per_s=1e10,
                        paired_ns=float(np.median(1e6 * ms)),
                    )  # fmt: skip


def estimates(shape: ModelShape) -> list[LatencyEstimate]:
    """What an earlier release told of a shape."""
    told = []
    for workload in SCENARIO.workloads:
        ms = milliseconds(shape, workload)
        told.append(
            LatencyEstimate(
                shape_id=shape.shape_id, device=DEVICE.name,
                precision=DEVICE.precision.of(workload.phase), workload=workload,
                cache_mode=DEVICE.cache_mode(workload), environment_id=identity(ENVIRONMENT),
                graph_version=GRAPH_VERSION, protocol_version=PROTOCOL_VERSION, latency_ms=ms,
                ci_low_ms=0.97 * ms, ci_high_ms=1.03 * ms, intercept_ms=0.1 * ms,
                slope_ms=0.9 * ms / shape.num_hidden_layers, depths=(1, 2), verdict="valid",
                reasons=(), created_at="2026-01-01T00:00:00+00:00",
            )
        )  # fmt: skip
    return told


def build(store: Store, study: str, count: int, *, estimated: float, failed: float) -> None:
    """A study of so many shapes, a share of which was estimated or failed."""
    own = load_space(SPACE)
    feasible = enumerate_space(own, *DEVICE.schemes)
    assert len(feasible) >= count, f"{SPACE} has {len(feasible)} shapes"
    rows = np.linspace(0, len(feasible) - 1, count).astype(int)
    shapes = [feasible.shape(int(i)) for i in rows]
    order = np.random.default_rng(0).permutation(count)
    lost = {int(i) for i in order[: int(failed * count)]}
    told = {int(i) for i in order[len(lost) : len(lost) + int(estimated * count)]}
    store.save_study(
        StudyRecord(
            name=study,
            config={
                "space": own.model_dump(mode="json"),
                "device": DEVICE.model_dump(mode="json"),
                "scenario": str(SCENARIO),
                "objectives": ["latency", "loss"],
                "versions": {"graph": GRAPH_VERSION, "protocol": PROTOCOL_VERSION},
                "commands": [],
            },
            environment_id=identity(ENVIRONMENT),
            environment=ENVIRONMENT,
        )
    )
    parts = [
        (
            shape,
            StudyShape(
                shape_id=shape.shape_id, role="screened" if i in told else "trial",
                reason="it must fit in memory" if i in lost else None,
            ),
        )
        for i, shape in enumerate(shapes)
    ]  # fmt: skip
    store.set_study_shapes(study, parts)
    whole = [s for i, s in enumerate(shapes) if i not in told | lost]
    batch: list[Measurement] = []
    for made in sessions(whole, seed=count):
        batch.append(made)
        if len(batch) == 20_000:
            store.add_measurements(REFERENCE, batch)
            batch = []
    store.add_measurements(REFERENCE, batch)
    store.set_estimates([(shapes[i], estimates(shapes[i])) for i in sorted(told)])


def timed(arguments: Sequence[str], folder: Path, limit_s: float, memory: int) -> dict[str, Any]:
    """Seconds by the clock and of processors, and peak memory of one command; how it ended."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (round(limit_s), round(limit_s)))

    command = [str(Path(sys.executable).with_name("phonelm-search")), *arguments]
    start = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, preexec_fn=bounded, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        said = child.stderr.read().strip().splitlines() if child.stderr else []
    code = child.returncode
    ended = "ok" if code == 0 else f"over {limit_s:.0f} s" if code in _CUT else f"exit {code}"
    if code not in (0, *_CUT) and said:
        say(said[-1][:300])
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": usage.ru_maxrss // 1024,
        "ended": ended,
    }


def main() -> None:
    """A row for each command and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label", default="after", help="what stands in the column `release`")
    parser.add_argument("--counts", default="100,1000,10000")
    parser.add_argument("--kinds", default="measured,mixed")
    parser.add_argument("--commands", default="", help="substring of the commands to time")
    parser.add_argument("--limit", type=float, default=300, help="processor seconds of a command")
    parser.add_argument("--memory", type=float, default=8, help="GB of a command at most")
    parser.add_argument("--server", action="store_true", help="on PostgreSQL")
    parser.add_argument("--keep", type=Path, help="folder of the databases; else a scratch one")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = None
        if options.server:
            server = stack.enter_context(running_server())
            assert server is not None, "PostgreSQL must be installed"
            url = server.url(server.new_database())
        run(options, url)


def run(options: argparse.Namespace, url: str | None) -> None:
    """Build studies, and time what reads them."""
    folder = options.keep or Path(tempfile.mkdtemp())
    for kind in options.kinds.split(","):
        estimated, failed = {"measured": (0.0, 0.0), "mixed": (0.6, 0.2)}[kind]
        for count in map(int, options.counts.split(",")):
            results, study = folder / f"{kind}-{count}", f"{kind}-{count}"
            store = Store(results, url=url)
            if study not in [s.name for s in store.studies()]:
                say(f"building {study}")
                build(store, study, count, estimated=estimated, failed=failed)
            ids = [p.shape_id for p in store.study_shapes(study) if p.reason is None]
            names = {"STUDY": study, "FOLDER": str(results / "winner"), "A": ids[0], "B": ids[-1]}
            shutil.rmtree(results / "cache", ignore_errors=True)
            for name, words in COMMANDS.items():
                if options.commands not in name:
                    continue
                arguments = [names.get(w, w) for w in words] + ["--results", str(results)]
                arguments += ["--storage", url] if url else []
                row = {
                    "release": options.label, "kind": kind, "shapes": count, "command": name,
                    **timed(arguments, folder, options.limit, int(options.memory * 1e9)),
                }  # fmt: skip
                say(" ".join(map(str, row.values())))
                new = not options.output.exists()
                with options.output.open("a", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, row, lineterminator="\n")
                    if new:
                        writer.writeheader()
                    writer.writerow(row)
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
