"""Pictures are tested as what they show; drawing is tested to draw."""

from pathlib import Path

import pytest

from helpers import study
from phonelm_search.errors import ExportError
from phonelm_search.plots.draw import draw_front, draw_spread, draw_training, save
from phonelm_search.plots.info import front_info, spread_info, step_line, training_info

POINTS: list[tuple[float, float | None]] = [(10.0, 3.0), (20.0, 3.1), (30.0, 2.0), (40.0, None)]


def test_front_info_tells_front_dominated_unscored_and_pick_apart(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS, verdict="suspect")
    info = front_info(view)
    assert info.pick_name == "provisional pick"
    assert [p.front for p in info.points] == [True, False, True, False]
    assert [p.pick for p in info.points] == [False, False, True, False]
    assert [p.y for p in info.points] == [3.0, 3.1, 2.0, None]
    assert all(p.suspect for p in info.points)
    assert info.points[0].y_error[0] == info.points[0].y_error[1] > 0
    assert "[ms]" in info.x_label
    assert info.baseline == 2.18
    assert "hollow: suspect (single round)" in info.footnote


def test_before_training_the_front_is_against_size(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, None)])
    info = front_info(view)
    assert info.y_label == "decoder parameters [M]"
    assert info.baseline is None


def test_the_step_line_goes_right_before_it_goes_down(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    xs, ys = step_line(front_info(view).points, 50.0)
    assert xs == pytest.approx([10, 30, 30, 50])
    assert ys == [3.0, 3.0, 2.0, 2.0]
    assert step_line((), 1.0) == ([], [])


def test_training_info_holds_every_curve(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    info = training_info(view)
    assert info.pick_name == "pick"
    curves = info.curves
    assert [c.final for c in curves] == [3.0, 3.1, 2.0]
    assert [c.pick for c in curves] == [False, False, True]
    assert curves[0].tokens == (500, 1000)


@pytest.mark.parametrize("points", [[], [(10.0, None)], POINTS], ids=["empty", "one", "some"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_every_picture_is_drawn(
    tmp_path: Path, points: list[tuple[float, float | None]], suffix: str
) -> None:
    _, view = study(tmp_path, points)
    for name, figure in (
        ("front", draw_front(front_info(view))),
        ("training", draw_training(training_info(view))),
        ("spread", draw_spread(spread_info(view))),
    ):
        file = save(figure, tmp_path / f"{name}{suffix}")
        head = file.read_bytes()[:5]
        assert head.startswith((b"\x89PNG", b"<?xml", b"%PDF"))


def test_svg_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    files = [save(draw_front(front_info(view)), tmp_path / f"{i}.svg") for i in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    _, view = study(tmp_path, [])
    figure = draw_front(front_info(view))
    with pytest.raises(ExportError, match=r"must end in .png, .svg, .pdf, got 'x.gif'"):
        save(figure, tmp_path / "x.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="must be writable"):
        save(figure, tmp_path / "file" / "x.png")
