"""From a measured study to trainings that count in its law."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import Told, small_shape, small_text_of, study
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.errors import ConfigurationError, TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs.plots import save
from phonelm_search.outputs.plots.validation import draw_validation, validation_info
from phonelm_search.quality import ScoreSettings
from phonelm_search.quality.law import SHARED, Gaussian, load_prior, save_prior
from phonelm_search.reading import StudyView, find_row, law_text, load_view, trust
from phonelm_search.space import load_space
from phonelm_search.stages.aims import read_law, set_law
from phonelm_search.stages.session import Session, open_session
from phonelm_search.stages.train import close_score, run_score, score, validate_law
from phonelm_search.store import Store
from phonelm_search.train import load_text
from phonelm_search.train.textfile import SEPARATOR

SETTINGS = ScoreSettings(tokens_per_parameter=0.05, budget=60_000, minutes=0.01)
SHAPES = [
    small_shape(
        hidden_size=256, head_dim=64, intermediate_size=640, num_hidden_layers=n, hidden_act=act
    )
    for n, act in ((2, "silu"), (4, "silu"), (4, "relu"), (8, "silu"))
]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A tenth of a megabyte to learn from; its validation takes a moment only."""
    file = tmp_path / "text.txt"
    file.write_text(SEPARATOR.join(small_text_of(load_text()).train), encoding="utf-8")
    return file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A study that nothing was trained for."""
    points: list[tuple[float, float | None]] = [(10.0 + n, None) for n in range(len(SHAPES))]
    store, view = study(tmp_path, points, shapes=SHAPES)
    space = load_space("tiny").model_dump(mode="json")
    config = {k: v for k, v in view.record.config.items() if k != "score"}
    store.save_study(replace(view.record, config={**config, "space": space}))
    return store


def trained(store: Store, text: Path, settings: ScoreSettings = SETTINGS) -> StudyView:
    with open_session(store, "study", report=Told()) as session:
        score(session, settings, top=4, data=[str(text)], deadline=Deadline(600))
        close_score(session)
        return session.view


@pytest.mark.usefixtures("inline_training")
def test_relatives_are_trained_for_a_front_and_count_in_its_law(
    store: Store, text_file: Path, tmp_path: Path
) -> None:
    before = load_view(store, "study")
    view = trained(store, text_file)
    assert len(view.trainings) >= 2
    assert len(view.evidence) == len(view.trainings)
    for training in view.trainings:
        relative = training.trained
        assert relative["hidden_size"] < 256
        assert relative["head_dim"] == 64
        assert training.quantised.keys() == {"int4-b32"}
    assert {r.loss for r in view.rows} != {r.loss for r in before.rows}
    assert all(r.prior_share <= 1 for r in view.rows)
    config = view.record.config["score"]
    assert config["data"] == [str(text_file)]
    assert set(config["settled"]) == {"acceleration", "speed"}
    assert 2 < config["lzma_bits_per_byte"] < 4
    # Told again, it goes on: nothing is trained twice.
    more = trained(store, text_file)
    assert more.trainings[: len(view.trainings)] == view.trainings
    assert len({(t.shape_id, t.settings_id) for t in more.trainings}) == len(more.trainings)
    assert len(more.trainings) > len(view.trainings)


@pytest.mark.usefixtures("inline_training")
def test_a_scoring_that_was_stopped_goes_on_with_its_plan(
    store: Store, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(store, text_file)
    keys = [(t.shape_id, t.settings_id) for t in whole.trainings]
    bits = [t.bits_per_byte for t in whole.trainings]
    with open_session(store, "study", report=Told()) as session:
        session.configure("score", {})
    store.forget_scores([(s, i, 0) for i, s in keys])
    added = store.add_score
    count = 0

    def stop(shape: ModelShape, record: ProxyScore) -> None:
        nonlocal count
        if count == 1:
            raise KeyboardInterrupt
        count += 1
        added(shape, record)

    monkeypatch.setattr(store, "add_score", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(store, text_file)
    # What was finished counts at once, whatever becomes of the rest.
    assert [t.bits_per_byte for t in load_view(store, "study").trainings] == bits[:1]
    monkeypatch.setattr(store, "add_score", added)
    # Other minutes would plan otherwise; the plan that was begun is ended first.
    again = trained(store, text_file, replace(SETTINGS, minutes=10))
    assert [(t.shape_id, t.settings_id) for t in again.trainings] == keys
    assert [t.bits_per_byte for t in again.trainings] == bits


@pytest.mark.usefixtures("inline_training")
def test_trainings_on_another_text_are_not_taken_for_those_on_this_one(
    store: Store, text_file: Path, tmp_path: Path
) -> None:
    first = trained(store, text_file)
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text(encoding="utf-8")[5000:], encoding="utf-8")
    view = trained(store, other)
    ours = {t.settings["corpus"] for t in view.trainings}
    assert len(ours) == 2
    shapes = [
        {(t.shape_id, t.tokens) for t in view.trainings if t.settings["corpus"] == c} for c in ours
    ]
    assert shapes[0] & shapes[1]
    assert view.trainings[: len(first.trainings)] == first.trainings


@pytest.mark.usefixtures("inline_training")
def test_where_time_ends_early_the_rest_is_left_and_said(
    store: Store, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    with open_session(store, "study", report=told) as session:
        score(session, SETTINGS, top=4, data=[str(text_file)], deadline=Deadline(0))
        assert session.view.trainings == ()
    assert "no time is left for trainings; more --minutes train" in told.notes
    with open_session(store, "study", report=told) as session:
        late = Deadline(60)
        monkeypatch.setattr("phonelm_search.quality.training._Clock.seconds", lambda *_: 100.0)
        score(session, SETTINGS, top=4, data=[str(text_file)], deadline=late)
        assert session.view.trainings == ()
    (note,) = [n for n in told.notes if "train the others" in n]
    assert note.startswith("time for 0 of ")


@pytest.mark.usefixtures("inline_training")
def test_a_larger_rung_is_held_against_the_law(
    store: Store, text_file: Path, tmp_path: Path
) -> None:
    data = [str(text_file)]

    def validated(session: Session) -> None:
        validate_law(session, SETTINGS, top=4, data=data)

    with open_session(store, "study", report=Told()) as session:
        with pytest.raises(TrainingError, match="must have trainings to hold the law against"):
            validated(session)
        with pytest.raises(TrainingError, match="must have two trainings of its largest size"):
            validation_info(session.view)
        score(session, SETTINGS, top=4, data=data, deadline=Deadline(600))
        largest = max(t.shape.decoder_parameters for t in session.view.evidence)
        validated(session)
        view = session.view
        validated(session)  # nothing is trained or counted twice
        assert session.view.trainings == view.trainings
    rung = view.held_out
    assert rung is not None
    sizes = [t.shape.decoder_parameters for t in rung.trainings]
    assert min(sizes) > 1.7 * largest
    assert len({t.shape.num_hidden_layers for t in rung.trainings}) > 1
    assert abs(sum(rung.told)) < 0.05  # told and trained are differences from the rung's mean
    assert trust(view) == f"trust: {rung.summary}"
    info = validation_info(view)
    assert len(info.points) == len(sizes)
    assert save(draw_validation(info), tmp_path / "v.png").stat().st_size > 10_000


@pytest.mark.usefixtures("inline_training")
def test_what_was_trained_can_be_dropped_and_done_anew(store: Store, text_file: Path) -> None:
    first = trained(store, text_file)
    pick, view = run_score(
        store, "study", SETTINGS, top=4, report=Told(), data=[str(text_file)], retrain=True,
        train_tokens=3e9,
    )  # fmt: skip
    assert pick.row in view.front
    assert view.train_tokens == 3e9
    again = [t.bits_per_byte for t in view.trainings]
    assert again
    assert again == [t.bits_per_byte for t in first.trainings][: len(again)]


def test_a_study_keeps_the_law_that_it_is_given(store: Store, tmp_path: Path) -> None:
    prior, file = load_prior(), tmp_path / "law.json"
    mean = prior.shared.mean.copy()
    mean[SHARED.index("depth")] += 0.5  # depth is worth more
    shared = Gaussian(mean=mean, covariance=prior.shared.covariance)
    sources = (*prior.sources, "runs.csv: 24 trainings")
    save_prior(replace(prior, shared=shared, sources=sources), file)
    order = [s.shape_id for s in (SHAPES[0], SHAPES[3])]  # two layers, eight

    def gain() -> float:
        two, eight = (find_row(view, i).loss.value for i in order)
        return two - eight

    with open_session(store, "study", report=Told()) as session:
        view = session.view
        before = gain()
        set_law(session, read_law(file))
        view = session.view
        assert gain() > before + 0.005
        file.unlink()  # the study has a copy
        view = load_view(store, "study")
        assert gain() > before + 0.005
        assert "with runs.csv: 24 trainings" in law_text(view, view.rows[0])
        set_law(session, read_law("shipped"))
        view = session.view
        assert gain() == before
        with pytest.raises(ConfigurationError, match="must be readable: No such file"):
            read_law(tmp_path / "nowhere.json")


def test_a_study_without_shapes_says_what_to_do(tmp_path: Path) -> None:
    empty, _ = study(tmp_path, [])
    with (
        open_session(empty, "study", report=Told()) as session,
        pytest.raises(TrainingError, match="must have measured shapes to train for; run"),
    ):
        score(session, SETTINGS, top=4)
