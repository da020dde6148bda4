"""``phonelm-search law``: show, fit, check, and files that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest

from phonelm_search import api
from phonelm_search.cli.main import run_command
from phonelm_search.quality.law import (
    Dimensions,
    Points,
    QualityLaw,
    encode_prior,
    load_prior,
    observations_of,
    read_trainings,
)

HEADER = "hidden_size,intermediate_size,num_hidden_layers,num_attention_heads,tokens,bits_per_byte"
ROWS = ["512,1536,4,8,1e8,1.30", "384,1024,8,6,1e8,1.33", "256,768,16,4,1e8,1.40"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Trainings as the shipped law tells them, a per mille off."""
    shapes = [(w, d) for w in (256, 384, 512, 768) for d in (3, 6, 12)]
    lines = [f"{HEADER},seed,dataset"]
    law = QualityLaw(load_prior())
    random = np.random.default_rng(0)
    for dataset, unit in (("ours", 0.4), ("theirs", 1.0)):
        for width, depth in shapes:
            row = f"{width},{3 * width},{depth},{width // 64},2e9"
            at = Points(
                shapes=Dimensions(
                    width=np.array([np.sqrt((4 + 9) / 15) * width]), depth=np.array([float(depth)]),
                    head_dim=np.array([64.0]), share=np.array([9 / 4]), groups=np.ones(1),
                    kinds=np.zeros((1, 4)),
                ),
                tokens=np.array([2e9]),
            )  # fmt: skip
            loss = unit * float(np.exp(law.log_loss(at).mean[0] + 0.001 * random.standard_normal()))
            lines.append(f"{row},{loss:.6f},0,{dataset}")
    path = tmp_path / "runs.csv"
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, object]:
    assert run_command([*command, "--json"]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_show_tells_coefficients_sources_and_where_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["law", "show"]) == 0
    text = "".join(capsys.readouterr())
    assert "width_exponent" in text
    assert "2502.06857" in text
    assert "an extrapolation beyond" in text
    document = printed(capsys, "law", "show")
    rows = document["rows"]
    assert isinstance(rows, list)
    assert all(r["low"] < r["value"] < r["high"] for r in rows)


def test_check_orders_trainings_that_follow_the_law(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed(capsys, "law", "check", "--observations", str(runs))["rows"]
    assert isinstance(rows, list)
    assert [r["dataset"] for r in rows] == ["ours", "theirs", "all"]
    for row in rows:
        assert row["rightly_ordered_any_size"] > 0.95
        assert row["largest_error"] < 0.01
        assert row["tau"] > 0.9
        assert row["shallow_first"] + row["deep_first"] == pytest.approx(1) or not row["pairs"]
    assert rows[2]["trainings"] == 24


def test_fit_makes_the_law_narrower_and_check_takes_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    law = tmp_path / "new" / "law.json"
    fitted = printed(capsys, "law", "fit", "--observations", str(runs), "-o", str(law))
    before, after = api.show_law(), api.show_law(law)
    assert (after.high - after.low).sum() < (before.high - before.low).sum()
    assert isinstance(fitted["rows"], list)
    told = [r["value"] for r in fitted["rows"]]
    assert told == pytest.approx(after.value.tolist(), rel=1e-4, abs=1e-6)
    assert after.attrs["sources"][-1] == "runs.csv: 24 trainings"
    assert api.check_law(runs, law=law).trainings.tolist() == [12, 12, 24]


def test_values_of_one_trunk_are_one_run(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["512,1536,4,8,1e8,1.30", "512,1536,4,8,2e8,1.2", "", "384,1024,8,6,1e8,1.33"]
    path.write_text("\n".join([HEADER, *rows]))
    observed = observations_of(read_trainings(path))
    assert observed.runs.tolist() == [0, 0, 1]
    assert set(observed.datasets) == {"runs"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "columns hidden_size"),
        (HEADER.replace("tokens,", ""), "row 1: columns tokens are missing"),
        (HEADER.replace("bits_per_byte", "ppl"), "loss or bits_per_byte are missing"),
        (HEADER, "at least one training"),
        (f"{HEADER}\n{ROWS[0]}\n512,1536,4,8,many,1.3", "row 3, tokens: must be a positive number"),
        (f"{HEADER}\n{ROWS[0]}\n\n512,1536,4,8,-1,1", "row 4, tokens: must be a positive"),
        (f"{HEADER}\n512,1536,4,8,1e8,", "row 2, bits_per_byte: must be a positive number, got ''"),
        (f"{HEADER}\n512,1536,4,8,1e8,nan", "row 2, bits_per_byte: must be a positive"),
        (f"{HEADER}\n512,1536,4.5,8,1e8,1", "row 2, num_hidden_layers: must be a whole number"),
        (f"{HEADER}\n512,1536,4,7,1e8,1", "row 2, num_attention_heads: must divide hidden_size"),
        (f"{HEADER},hidden_act\n{ROWS[0]},swish", "row 2, the shape: hidden_act must be one of"),
        (f"{HEADER}\n512,1536", "row 2, num_attention_heads: must be a positive number, got ''"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    assert run_command(["law", "check", "--observations", str(path)]) == 1
    captured = capsys.readouterr()
    assert told in captured.err.replace("\n", " ")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"shared": {"names": []}}', "\0", '{"a": ' + "9" * 5000 + "}"]
)
def test_a_file_that_is_no_law_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "law.json"
    path.write_text(text)
    assert run_command(["law", "show", "--law", str(path)]) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert "must be a law as `law fit` writes it" in said
    assert "int_max_str_digits" not in said


def test_files_that_are_not_there_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["law", "check", "--observations", "nowhere.csv"]) == 1
    assert run_command(["law", "show", "--law", "nowhere.json"]) == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("shared", "mean", -1e300),  # a prior of no number
        ("shared", "mean", 50.0),
        ("shared", "covariance", 1e300),
        ("shared", "covariance", 1e-300),
        ("own", "mean", 1e18),
        ("own", "covariance", 0.0),
        ("discrepancy", "size_decades", 0.0),
        ("discrepancy", "growth", 1e299),
        ("discrepancy", "tokens", 0.0),
    ],
)
def test_a_law_of_numbers_that_tell_no_loss_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, key: str, value: float
) -> None:
    document = encode_prior(load_prior())
    if isinstance(document[part][key], float):
        document[part][key] = value
    else:
        values = list(document[part][key])
        values[0] = [value, *values[0][1:]] if key == "covariance" else value
        document[part][key] = values
    path = tmp_path / "law.json"
    path.write_text(json.dumps(document))
    assert run_command(["law", "show", "--law", str(path)]) == 1
    assert "must be a law as `law fit` writes it: " in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("loss", ["1e300", "1e-300", "1e18"])
def test_a_loss_that_none_can_be_names_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{HEADER}\n{ROWS[0]}\n384,1024,8,6,1e8,{loss}\n")
    code = run_command(["law", "fit", "--observations", str(path), "-o", str(tmp_path / "l.json")])
    assert code == 1
    assert "row 3, bits_per_byte: must lie between 1e-06 and 1e+06" in capsys.readouterr().err
