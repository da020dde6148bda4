"""A study whose rounds and trainings run on the nodes of a cluster comes to the same as here."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from phonelm_search.cli.main import run_command
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.stages import EnginePlan
from phonelm_search.store import Store
from phonelm_search.train.pool import PlacePool
from phonelm_search.train.settings import Acceleration
from work.ray_cluster import Nodes

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]
RUN = [
    "run", "tiny", "--device", "fake-phone", "--trials", "3", "--study", "study", "--minutes", "10",
    "--score-top", "2",
    "--proxy-parameters", "30k", "--tokens-per-parameter", "0.05", "--scenario", "chat=16:8",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text(
        "name: fake-phone\nruntime: fake\nthreads: 1\ncache: warm\n"
    )
    usual = Acceleration(number_type="fp32", compiled=False, tokens_per_s={})
    monkeypatch.setattr(PlacePool, "fastest", lambda *_: usual)
    # What there is time for would differ between a cluster and a process.
    monkeypatch.setattr(Deadline, "left", property(lambda deadline: deadline.seconds))


def answer(folder: str) -> tuple[Any, ...]:
    """What a study came to: its shapes, trainings and latencies, and the winner's file."""
    store = Store(Path(folder))
    shapes = sorted(p.shape_id for p in store.study_shapes("study") if p.role == "trial")
    rounds = store.measurements(shape_ids=shapes)
    samples = {(m.shape_id, m.workload.name, m.samples_ns) for m in rounds}
    ladder = store.study("study").config["score"]["ladder"]
    scores = {
        (s.shape_id, s.settings_id, s.chunk_bits)
        for e in ladder
        for s in store.scores(shape_ids=[e["shape_id"]], settings_id=e["settings_id"])
    }
    winner = json.loads((Path(folder) / "study/winner/config.json").read_text())
    return shapes, samples, scores, json.dumps(winner, sort_keys=True)


@pytest.mark.usefixtures("quick_rounds", "small_text", "inline_training")
def test_a_run_on_a_cluster_comes_to_what_one_process_comes_to(ray_nodes: Nodes) -> None:
    given = ["--engine", "ray", "--address", ray_nodes.address, "--results"]
    assert run_command([*RUN, *given, "there"]) == 0
    assert run_command([*RUN, "--results", "here"]) == 0
    there, here = answer("there"), answer("here")
    assert there[2]
    assert there == here
    kept = Store(Path("there")).study("study").config["commands"][0]["command"]
    assert "--engine ray" in kept
    assert ray_nodes.address not in kept
    assert list(Path("there/cache/training").rglob("*.safetensors"))


def test_address_and_artifacts_are_for_ray() -> None:
    with pytest.raises(ConfigurationError, match="--address is for --engine ray"):
        EnginePlan(address="host:1")


def test_a_device_that_no_node_offers_ends_a_search_before_it_begins(
    ray_nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("device_profiles/other.yaml").write_text("name: other\nruntime: fake\n")
    words = [
        "search",
        "tiny",
        "--device",
        "other",
        "--engine",
        "ray",
        "--address",
        ray_nodes.address,
    ]
    assert run_command(words) == 1
    said = capsys.readouterr().err
    assert "a node must offer phonelm:other:*, none does" in said
    assert "phonelm:train (2)" in said
