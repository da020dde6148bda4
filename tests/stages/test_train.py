"""From a measured study to scores that say how far to trust them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import Told, small_text_of, study
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import TrainingError
from phonelm_search.outputs.plots import save
from phonelm_search.outputs.plots.validation import draw_validation, validation_info
from phonelm_search.quality import ScoreSettings, Validation, validation
from phonelm_search.reading import StudyView
from phonelm_search.space import load_space
from phonelm_search.stages import train as scoring
from phonelm_search.stages.session import open_session
from phonelm_search.stages.train import score, validate_study
from phonelm_search.store import Store
from phonelm_search.train import load_text
from phonelm_search.train.text import SEPARATOR

POINTS: list[tuple[float, float | None]] = [(10.0, None), (12.0, None), (15.0, None), (20.0, None)]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A tenth of a megabyte to learn from; its validation takes a moment only."""
    file = tmp_path / "text.txt"
    file.write_text(SEPARATOR.join(small_text_of(load_text()).train), encoding="utf-8")
    return file


def measured(folder: Path) -> tuple[Store, StudyView]:
    """A study that nothing was trained of."""
    store, view = study(folder, POINTS)
    space = load_space("tiny").model_dump(mode="json")
    config = {k: v for k, v in view.record.config.items() if k != "score"}
    store.save_study(replace(view.record, config={**config, "space": space}))
    return store, view


def validated(store: Store) -> tuple[Validation, StudyView]:
    with open_session(store, "study", report=Told()) as session:
        return validate_study(session, count=8), session.view


@pytest.mark.usefixtures("inline_training")
def test_a_study_is_scored_validated_and_says_how_far_to_trust_it(
    tmp_path: Path,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(validation, "LONGER", 2)
    monkeypatch.setattr("phonelm_search.quality.scoring._TOKEN_UNIT", 4096)
    store, _ = measured(tmp_path)
    with pytest.raises(TrainingError, match="must have scores to validate; run `phonelm-search"):
        validated(store)
    settings = ScoreSettings(tokens_per_parameter=0.02)
    with open_session(store, "study", report=Told()) as session:
        score(session, settings, top=4, data=[str(text_file)])
        view = session.view
    assert len(view.scored) == 4
    config = view.record.config["score"]
    assert config["seeds"] == [0]
    assert set(config["settled"]) == {"acceleration"}
    assert config["data"] == [str(text_file)]
    assert 2 < config["lzma_bits_per_byte"] < 4
    # The numbers stand in the files of the study, and below them what is not known.
    options = ["--score-top", "4", "--tokens-per-parameter", "0.02", "--data", str(text_file)]
    assert run_command(["score", "study", "--results", str(tmp_path), *options]) == 0
    shown = capsys.readouterr()
    assert "trust: not validated; `phonelm-search score study --validate` tells" in shown.out
    assert "quantised" in shown.out

    found, view = validated(store)
    assert len(found.shape_ids) == 4
    assert found.seeds == (0, 1)
    assert found.long_tokens_per_parameter == pytest.approx(2 * found.tokens_per_parameter)
    names = [o.name for o in found.orders]
    assert names[:2] == ["score, one seed", "ceiling: the long run, one seed"]
    assert {"a tenth of the horizon", "most decoder parameters"} <= set(names)
    assert not any("times the size" in o.against for o in found.orders)  # nothing shrank
    assert view.validation == found == Validation.from_dict(json.loads(json.dumps(found.as_dict())))
    again, _ = validated(store)
    assert again == found
    monkeypatch.setattr(scoring, "LEAST_COMPARED", 5)
    with pytest.raises(TrainingError, match=r"5 shapes must be compared.* has 4; search on"):
        validated(store)

    info = validation_info(store, view)
    assert len(info.shapes) == 4
    assert {len(s.seeds) for s in info.shapes} == {2}
    assert "crosses: deviation between seeds" in info.footnote
    assert save(draw_validation(info), tmp_path / "v.png").stat().st_size > 10_000
    assert run_command(["pareto", "study", "--results", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all(r["quantised_bits_per_byte"] > r["bits_per_byte"] for r in rows)
    assert all(r["trained_total_parameters"] > r["trained_parameters"] for r in rows)


def test_miniatures_are_held_against_larger_ones() -> None:
    from helpers import small_shape
    from phonelm_search.train import TrainingSettings

    shapes = [
        small_shape(hidden_size=512, head_dim=64, num_attention_heads=8, num_hidden_layers=n)
        for n in (4, 5)
    ]
    training = TrainingSettings(
        corpus="", vocab_size=512, tokens=100_000, budget=200_000, width_factor=0.1
    )
    plan = validation.plan_validation(shapes, training, typical=10**7, seed=3)
    assert {r.seed for r in plan.short} == {3, 4}
    assert {r.settings.tokens for r in plan.long} == {800_000}
    assert {r.settings.trunk_id for r in plan.long} == {r.settings.trunk_id for r in plan.short}
    assert [r.until for r in plan.early] == [5, 5]
    assert {r.settings.budget for r in plan.larger} == {400_000}
    assert {r.settings.tokens for r in plan.larger} == {200_000}
    small, large = (
        [r.candidate.trained.decoder_parameters for r in runs[:2]]
        for runs in (plan.short, plan.larger)
    )
    assert all(b / a == pytest.approx(2, rel=0.1) for a, b in zip(small, large, strict=True))


def test_what_cannot_be_validated_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, view = study(tmp_path, [(10.0, 2.0), (12.0, 1.9)], settings={"version": 2})
    with pytest.raises(TrainingError, match="procedure 4 to go on from, these are of 2; score"):
        validated(store)
    with pytest.raises(TrainingError, match="must be validated to draw it"):
        validation_info(store, view)
