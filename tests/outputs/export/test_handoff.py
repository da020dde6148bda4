"""What is handed off is built, run and loaded by those that it is for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import yaml

from documents import python_block
from helpers import Told, fake_device, small_shape, small_texts, study
from inline import trained_inline
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ExportError
from phonelm_search.core.records import StudyShape
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs.export import hand_off
from phonelm_search.outputs.export.litgpt import to_litgpt
from phonelm_search.outputs.export.winner import export_onnx
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import choose, law_text, load_view, trust
from phonelm_search.stages.session import open_session
from phonelm_search.stages.train import score
from phonelm_search.store import Store
from phonelm_search.train.text import Text

pytestmark = pytest.mark.xdist_group("handoff")

SHAPES = [small_shape(num_hidden_layers=2), small_shape(num_hidden_layers=3, hidden_act="relu")]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, text: Text) -> Iterator[Store]:
    """Two shapes, for which was really trained for a moment, on a part of the text."""
    store, _ = study(tmp_path_factory.mktemp("r"), [(10.0, None), (20.0, None)], shapes=SHAPES)
    settings = ScoreSettings(tokens_per_parameter=0.05, budget=None, vocab_size=320, minutes=0.05)
    with small_texts(text):
        with trained_inline(), open_session(store, "study", report=Told()) as session:
            score(session, settings, top=2)
        yield store


def test_transformers_builds_the_shape_with_the_same_parameters(
    scored: Store, tmp_path: Path
) -> None:
    view = load_view(scored, "study")
    for row in view.rows:
        folder = tmp_path / row.shape.shape_id
        hand_off(view, row, folder)
        config = transformers.AutoConfig.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_config(config)
        assert sum(p.numel() for p in model.parameters()) == row.shape.parameters


def test_the_lines_of_the_docs_build_the_model_of_the_size_on_its_card(
    scored: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = load_view(scored, "study")
    hand_off(view, view.rows[0], tmp_path / "winner")
    monkeypatch.chdir(tmp_path)
    exec(python_block("winner"), {})
    printed = capsys.readouterr().out.strip()
    assert printed
    card = (tmp_path / "winner" / "README.md").read_text(encoding="utf-8")
    assert f"{printed} with embeddings" in card


def test_onnxruntime_genai_generates_with_the_measured_graph(tmp_path: Path) -> None:
    import onnxruntime_genai as og

    shape = small_shape(hidden_size=128, head_dim=32, intermediate_size=256)
    export_onnx(shape, fake_device().scheme, tmp_path)
    model = og.Model(str(tmp_path))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=24, min_length=24)
    generator = og.Generator(model, parameters)
    prompt = np.arange(3, 19, dtype=np.int32)
    generator.append_tokens(prompt)
    for _ in range(8):
        generator.generate_next_token()
    made = generator.get_sequence(0)
    assert list(made[:16]) == list(prompt)
    assert list(made[16:]) == greedy(tmp_path / "model.onnx", prompt, 8, shape)


def greedy(model: Path, prompt: np.ndarray, count: int, shape: ModelShape) -> list[int]:
    """The same without genai: the whole text again for each token."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    empty = np.zeros((1, shape.num_key_value_heads, 0, shape.head_dim), np.float32)
    past = {i.name: empty for i in session.get_inputs() if i.name.startswith("past")}
    ids, made = list(prompt), []
    for _ in range(count):
        feeds = {"input_ids": np.array([ids], np.int64), **past}
        if "attention_mask" in {i.name for i in session.get_inputs()}:
            feeds["attention_mask"] = np.ones((1, len(ids)), np.int64)
        logits = session.run(["logits"], feeds)[0]
        made.append(int(logits[0, -1].argmax()))
        ids.append(made[-1])
    return made


def test_litgpt_is_told_the_same_dimensions() -> None:
    shape = small_shape()
    found = to_litgpt(shape, "x")["model_config"]
    # LitGPT's own count: embedding, layers of packed matrices and two norms, final norm.
    head = found["head_size"]
    qkv = (found["n_head"] + 2 * found["n_query_groups"]) * head * found["n_embd"]
    layer = (
        qkv + found["n_head"] * head * found["n_embd"]
        + 3 * found["n_embd"] * found["intermediate_size"] + 2 * found["n_embd"]
    )  # fmt: skip
    whole = found["padded_vocab_size"] * found["n_embd"] + found["n_layer"] * layer
    assert whole + found["n_embd"] == shape.parameters
    assert to_litgpt(shape, "x")["train"] == {"tie_embeddings": True}


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "relu"}, {"ffn": "plain", "hidden_act": "relu2"}, {"qk_norm": True}]
)
def test_what_litgpt_lacks_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=r"LitGPT .*; train from config.json"):
        to_litgpt(small_shape(**changes), "x")


def test_the_command_writes_a_folder_with_a_card(
    scored: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "winner"
    words = ["export", "study", "--results", str(scored.results), "-o", str(out)]
    assert run_command(words) == 0
    view = load_view(scored, "study")
    picked = choose(view)
    card = (out / "README.md").read_text()
    assert card.startswith(f"# {picked.row.shape.shape_id}\n")
    assert "It is not pre-trained" in card
    assert "Provisional pick" in card
    assert all(f"- provisional: {doubt}" in card for doubt in picked.provisional)
    assert any("a quick look" in doubt for doubt in picked.provisional)
    more = f"{100 * (picked.row.loss.value - 1):+.1f} %"
    assert f"**{more}**" in card
    assert "against the reference shape, told by a law over sizes" in card
    assert law_text(view, picked.row) in card
    assert trust(view) in card
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "model.onnx", "model.onnx.data", "genai_config.json"} <= names
    assert "proxy" not in names
    litgpt = picked.row.shape.hidden_act == "silu"
    assert ("litgpt.yaml" in names) == litgpt
    told = capsys.readouterr().err
    assert ("no litgpt.yaml: LitGPT expresses" in told) == (not litgpt)


def test_a_shape_can_be_named_by_its_beginning(scored: Store, tmp_path: Path) -> None:
    words = ["export", "study", "--results", str(scored.results), "--shape", "w64-l2"]
    assert run_command([*words, "-o", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    written = yaml.safe_load((tmp_path / "litgpt.yaml").read_text())
    assert written["model_config"]["n_layer"] == 2


def test_a_hand_off_replaces_an_earlier_one_and_nothing_else(scored: Store, tmp_path: Path) -> None:
    view = load_view(scored, "study")
    silu, relu = view.rows
    hand_off(view, silu, tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "proxy").mkdir()  # weights that earlier releases handed off, too
    (tmp_path / "proxy" / "model.safetensors").write_text("")
    hand_off(view, relu, tmp_path)
    assert not (tmp_path / "litgpt.yaml").exists()
    assert "litgpt.yaml`" not in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "proxy").exists()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert json.loads((tmp_path / "config.json").read_text())["hidden_act"] == "relu"


def test_a_readme_of_somebody_else_is_left_alone(scored: Store, tmp_path: Path) -> None:
    view = load_view(scored, "study")
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(ExportError, match=r"must hold no README\.md but that of"):
        hand_off(view, view.rows[0], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


def test_a_name_is_text_in_the_card(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, None), (20.0, None)], shapes=SHAPES)
    name = "a|b`c\n# <b>[x](y)\x1b[31m"
    part = StudyShape(shape_id=SHAPES[0].shape_id, role="reference", name=name)
    store.set_study_shape("study", SHAPES[0], part)
    view = load_view(store, "study")
    assert view.baseline == name
    hand_off(view, view.rows[1], tmp_path / "w")
    card = (tmp_path / "w" / "README.md").read_text(encoding="utf-8")
    assert "of a\\|b\\`c\\\\n# \\<b>[x]\\(y)\\\\x1b[31m," in card
    assert "\x1b" not in card
    assert card.count("<!-- a hand-off of phonelm-search -->") == 1
