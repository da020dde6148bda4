"""The report in a real browser: what a reader sees and does."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from helpers import add_training, fake_device, small_shape, study
from outputs.report.conftest import Open
from outputs.report.report_studies import POINTS, SHAPES, STUDIES, many, told
from phonelm_search.cli.main import run_command
from phonelm_search.core.hf_config import to_hf_config
from phonelm_search.outputs.report import write_report
from phonelm_search.reading import choose, load_view
from phonelm_search.store import Store
from told_losses import with_losses

pytestmark = pytest.mark.xdist_group("browser")
ReportOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> ReportOf:
    """Writes the report of a study once, beside its database; tests only read them."""

    @cache
    def written(name: str) -> Path:
        folder = tmp_path_factory.mktemp("study")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            return STUDIES[name](folder)

    return written


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_opens_without_complaint_on_wide_and_narrow_screens(
    name: str, report_of: ReportOf, opened: Open
) -> None:
    path = report_of(name)
    assert path.stat().st_size < 6e6
    for width, scheme in ((1200, "light"), (400, "dark")):
        page = opened(path, width=width, scheme=scheme)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than the screen"
        drawn = page.locator(".chart .main-svg").count()
        measured = name not in ("empty", "rejected")
        assert (drawn > 0) == measured
        expect(page.locator("#pick")).to_have_count(int(measured))
        assert "Nothing is picked" not in page.content()


def chart(page: Page, trace: str = "shapes") -> dict[str, Any]:
    """A trace as it was drawn."""
    found: dict[str, Any] = page.evaluate(
        """(name) => {
            const t = document.getElementById("front").data.find((t) => t.name === name);
            return {x: t.x, y: t.y, symbols: t.marker.symbol, rows: t.customdata};
        }""",
        trace,
    )
    return found


def point(page: Page, shape_id: str) -> tuple[float, float]:
    """Where a shape's point is on the screen."""
    page.locator("#front").scroll_into_view_if_needed()
    found: list[float] = page.evaluate(
        """(id) => {
            const chart = document.getElementById("front");
            const t = chart.data.find((t) => t.name === "shapes");
            const i = t.customdata.findIndex((row) => study.rows[row].id === id);
            const box = chart.querySelector(".nsewdrag").getBoundingClientRect();
            const { xaxis, yaxis } = chart._fullLayout;
            return [box.x + xaxis.d2p(t.x[i]), box.y + yaxis.d2p(t.y[i])];
        }""",
        shape_id,
    )
    return found[0], found[1]


def test_the_front_is_the_studys(report_of: ReportOf, opened: Open) -> None:
    path = report_of("some")
    view = told(load_view(Store(path.parent), "study"))
    page = opened(path)
    line = page.evaluate("document.getElementById('front').data[0]")
    assert line["x"] == pytest.approx([r.latency.value for r in view.front], rel=1e-4)
    assert line["y"] == pytest.approx([100 * (r.loss.value - 1) for r in view.front], rel=1e-4)
    assert line["line"]["shape"] == "hv"
    drawn = chart(page)
    assert drawn["x"] == pytest.approx([1, 2, 3, 4, 5], rel=0.01)
    assert drawn["y"] == pytest.approx([200, 210, 100, 150, 50], rel=0.01)
    expect(page.locator("#shown")).to_contain_text("5 of 5 shapes shown, 3 on the front")
    expect(page.locator("#shown")).not_to_contain_text("without a value")


def test_what_has_no_value_upwards_is_a_tick_below(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    page.get_by_label("Vertical axis").select_option("bits_per_byte")
    drawn = chart(page)
    assert drawn["x"] == pytest.approx([1, 2, 3, 5], rel=0.01)
    assert drawn["y"] == pytest.approx([3.0, 3.1, 2.0, 1.5], rel=1e-4)
    expect(page.locator("#shown")).to_contain_text("1 without a value upwards")


def test_the_page_opens_on_latency_against_loss_by_the_law(
    report_of: ReportOf, opened: Open
) -> None:
    page = opened(report_of("one"))
    expect(page.get_by_label("Horizontal axis")).to_have_value("latency")
    expect(page.get_by_label("Vertical axis")).to_have_value("loss")
    expect(page.locator("#front .ytitle")).to_contain_text("loss by the law after")
    label = page.locator("#y-axis option:checked")
    expect(label).to_contain_text("[% against the reference shape]")
    # What no shape has stands neither on an axis nor in the table.
    assert "bits_per_byte" not in page.evaluate(
        "[...document.getElementById('y-axis').options].map((o) => o.value)"
    )
    expect(page.locator("#shapes th[data-key=bits_per_byte]")).to_have_count(0)
    expect(page.locator("#shapes th[data-key=loss]")).to_have_text("loss by the law [%]")
    expect(page.locator("#pick h2")).to_have_text("Provisional pick: 64×1")
    expect(page.locator("#pick li")).to_contain_text("told from published trainings alone")
    expect(page.locator("#pick code").last).to_have_text("phonelm-search score study")
    expect(page.get_by_text("estimated from blocks by an earlier release")).to_have_count(0)


def test_intervals_stand_on_their_points_and_can_be_hidden(
    report_of: ReportOf, opened: Open
) -> None:
    path = report_of("some")
    rows = list(load_view(Store(path.parent), "study").rows)
    page = opened(path)
    bars = page.evaluate(
        """() => {
            const t = document.getElementById("front").data.find((t) => t.name === "intervals");
            return {x: t.x, high: t.error_y.array, low: t.error_y.arrayminus};
        }"""
    )
    shown = [r.latency.value for r in rows if r.latency]
    assert bars["x"] == pytest.approx(shown, rel=1e-4)  # the page has six digits
    assert min(bars["high"]) > 0
    assert min(bars["low"]) > 0
    page.get_by_label("95 % intervals").uncheck()
    names = page.evaluate("document.getElementById('front').data.map((t) => t.name)")
    assert "intervals" not in names
    assert "shapes" in names


def test_axes_can_be_chosen(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    page.get_by_label("Horizontal axis").select_option("decode")
    page.get_by_label("Vertical axis").select_option("weights")
    titles = page.locator("#front .xtitle, #front .ytitle").all_text_contents()
    assert any("TPOT" in t for t in titles)
    assert any("weights in int4-b32 [MB]" in t for t in titles)
    weights = [s.weight_bytes(fake_device().scheme).total / 1e6 for s in SHAPES]
    assert chart(page)["y"] == pytest.approx(weights, rel=1e-4)


def test_filters_hide_points_and_lines_of_the_table(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    page.locator("fieldset[data-key=hidden_act]").get_by_label("relu", exact=True).uncheck()
    assert chart(page)["x"] == pytest.approx([3, 4, 5], rel=0.01)
    assert page.locator("#shapes tbody tr:visible").count() == 3
    # What was dominated by a hidden shape would be on the front of what is shown.
    expect(page.locator("#shown")).to_contain_text("3 of 5 shapes shown, 2 on the front")
    depth = page.locator("fieldset[data-key=num_hidden_layers]")
    depth.get_by_role("button", name="all/none").click()
    assert page.locator("#shapes tbody tr:visible").count() == 0
    depth.get_by_role("button", name="all/none").click()
    assert page.locator("#shapes tbody tr:visible").count() == 3


def test_hovering_shows_the_shape(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    page.mouse.move(*point(page, SHAPES[2].shape_id))
    told = page.locator("#front .hoverlayer")
    for text in ("64×4", "heads 4/2 of 16, silu", "(2.9", "100 (96.1", "to 104"):
        expect(told).to_contain_text(text)


def test_a_click_pins_and_the_keyboard_does_it_too(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    expect(page.locator("#compare")).to_be_hidden()
    page.mouse.click(*point(page, SHAPES[2].shape_id))
    expect(page.locator("#compare")).to_be_visible()
    second = page.get_by_role("button", name=f"pin 64×2 {SHAPES[0].shape_id}", exact=True)
    second.focus()
    page.keyboard.press("Enter")
    table = page.locator("#pinned")
    assert table.locator("tr").first.locator("td").all_text_contents() == ["64×2", "64×4 ★"]
    differs = table.locator("tr", has=page.locator("td.differs")).locator("th")
    assert "layers" in differs.all_text_contents()
    assert "width" not in differs.all_text_contents()
    page.get_by_role("button", name="Unpin all").click()
    expect(page.locator("#compare")).to_be_hidden()


def test_pinning_keeps_the_readers_zoom(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    page.evaluate("Plotly.relayout('front', {'xaxis.range': [0.5, 3.5]})")
    page.locator("#shapes button.pin").first.click()
    shown = page.evaluate("document.getElementById('front')._fullLayout.xaxis.range")
    assert shown == pytest.approx([0.5, 3.5])
    page.get_by_label("Horizontal axis").select_option("decode")  # other axes begin anew
    shown = page.evaluate("document.getElementById('front')._fullLayout.xaxis.range")
    assert shown[1] > 3.6


def test_the_key_tells_which_side_is_better(tmp_path: Path, opened: Open) -> None:
    store, view = study(tmp_path, [(10.0, None), (20.0, None)])
    page = opened(write_report(store, view, tmp_path / "report.html"))
    expect(page.locator("#front-key")).to_contain_text("to the left and below")
    page.get_by_label("Vertical axis").select_option("decoder")
    expect(page.locator("#front-key")).to_contain_text("to the left and above")
    page.get_by_label("Vertical axis").select_option("weights")
    expect(page.locator("#front-key")).to_contain_text("to the left and below")


def test_the_table_sorts_both_ways_with_unknown_values_last(
    report_of: ReportOf, opened: Open
) -> None:
    page = opened(report_of("some"))
    head = page.locator("#shapes th[data-key=bits_per_byte]")
    cells = page.locator("#shapes tbody tr td:nth-child(8)")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert cells.all_text_contents() == ["1.5", "2", "3", "3.1", "–"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert cells.all_text_contents() == ["3.1", "3", "2", "1.5", "–"]


@pytest.mark.parametrize("place", [2, 3, 4])
def test_copying_gives_the_configuration(place: int, report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    shape = SHAPES[place]
    page.locator(f"#shapes tr[data-id={shape.shape_id}] button.copy").click()
    expect(page.locator("#copied")).to_contain_text("Copied config.json of 64×")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied == to_hf_config(shape)


def test_suspect_is_hollow_and_estimated_is_a_triangle(tmp_path: Path, opened: Open) -> None:
    store, view = study(tmp_path, POINTS[:2], verdict="suspect")
    page = opened(write_report(store, view, tmp_path / "report.html"))
    assert chart(page)["symbols"] == ["circle-open", "circle-open"]
    estimated = opened(many(tmp_path / "many", 10))
    kinds = chart(estimated)["symbols"]
    assert sorted(set(kinds)) == ["triangle-up", "triangle-up-open"]


def test_two_thousand_points_are_all_there(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("many"))
    assert len(chart(page)["x"]) == 2000
    expect(page.locator("#shown")).to_contain_text("intervals of the front only")
    lines = page.locator("#shapes tbody tr")
    assert lines.count() == 100
    page.get_by_role("button", name="Show all 2000").click()
    assert lines.count() == 2000
    page.get_by_label("Colour").select_option("num_hidden_layers")
    page.locator("fieldset[data-key=kv_groups]").get_by_label("4", exact=True).uncheck()
    assert len(chart(page)["x"]) == 2000 - len(range(0, 2000, 3))


def test_several_devices_are_told_as_multiples(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("two devices"))
    assert page.locator(".card h3").all_text_contents() == ["near", "far"]
    expect(page.locator("#x-axis option").first).to_contain_text("[× tiny-llama]")
    axes = page.locator("#x-axis option").all_text_contents()
    assert [a for a in axes if "TTFT" in a and a.endswith("on far [ms]")]
    heads = page.locator("#shapes th").all_text_contents()
    assert {"worst on", "prefill [ms]", "prefill on far [ms]"} <= set(heads)
    again = page.locator("pre")
    expect(again).to_contain_text("phonelm-search search tiny --device near --device far")


def test_texts_of_others_stay_text(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("rejected"))
    expect(page.get_by_text("<b>foreign</b> work on its cores </script>").first).to_be_visible()


def test_the_pick_and_its_ties_are_told(tmp_path: Path, opened: Open) -> None:
    store, view = study(tmp_path, [(10.0, 2.0), (20.0, 2.001), (20.01, 1.9), (30.0, 1.0)])
    view = with_losses(view, [3.0, 2.001, 2.0, 1.5], deviation=0.01)
    page = opened(write_report(store, view, tmp_path / "report.html"))
    expect(page.locator("#pick h2")).to_have_text(re.compile("^Pick: 64×[23]$"))
    pick = choose(view)
    (equal,) = pick.equals
    assert {pick.row.label, equal.label} == {"64×2", "64×3"}
    told = page.locator("#pick")
    expect(told).to_contain_text(pick.row.shape.shape_id)
    expect(told).to_contain_text(f"{pick.why}.")
    expect(told).to_contain_text(f"as good, within 1 % on both axes: {equal.label}.")
    expect(told).to_contain_text("too few of the largest size to hold the law against")
    expect(page.locator("#pick code").last).to_have_text("phonelm-search score study --validate")
    names = page.locator("#shapes tbody tr td:nth-child(2)").all_text_contents()
    marks = {pick.row.label: " ★", equal.label: " (tied)"}
    assert sorted(names) == [f"64×{n}{marks.get(f'64×{n}', '')}" for n in (1, 2, 3, 4)]


def test_what_was_trained_has_its_curve(tmp_path: Path, opened: Open) -> None:
    store, _ = study(tmp_path, [(10.0, 2.0), (20.0, None)])
    relative = small_shape(hidden_size=32, num_attention_heads=2)
    for tokens, bits in ((4000, 2.7), (2000, 2.9)):
        add_training(store, "study", relative, tokens=tokens, bits=bits)
    page = opened(write_report(store, load_view(store, "study"), tmp_path / "report.html"))
    legend = page.locator("#training .legendtext").all_text_contents()
    assert legend == ["64×1: 2.000", "32×2: 2.700"]
    expect(page.get_by_text("trainings", exact=True).locator("xpath=..")).to_contain_text("3")


def test_the_same_study_gives_the_same_file(tmp_path: Path) -> None:
    store, view = study(tmp_path, POINTS, shapes=SHAPES)
    first, second = (write_report(store, view, tmp_path / f"{i}.html") for i in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_an_unwritable_place_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, POINTS)
    (tmp_path / "file").write_text("")
    words = ["report", "study", "--results", str(tmp_path), "-o", str(tmp_path / "file" / "x.html")]
    assert run_command(words) == 1
    assert "must be writable" in capsys.readouterr().err


CUT = """() => [...document.querySelectorAll(".chart svg text")].filter((text) => {
    const chart = text.closest(".chart").getBoundingClientRect();
    const box = text.getBoundingClientRect();
    return box.width && (box.left < chart.left - 1 || box.right > chart.right + 1
      || box.top < chart.top - 1 || box.bottom > chart.bottom + 1);
  }).map((text) => text.textContent)"""


def test_no_title_is_cut_on_a_phone(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"), width=360)
    assert page.evaluate(CUT) == []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_the_page_ends_with_what_next(report_of: ReportOf, opened: Open) -> None:
    page = opened(report_of("some"))
    last = page.locator("main section").last
    expect(last.get_by_role("heading")).to_have_text("What next")
    for command in ("export study -o winner", "score study --validate", "pareto study --regret"):
        expect(last).to_contain_text(f"phonelm-search {command}")
    checked = page.locator("section", has=page.get_by_role("heading", name="What was checked"))
    expect(checked).to_contain_text("5 of 5 shapes have a valid latency")
    expect(page.locator("#pick")).to_contain_text("100 for each decoder parameter of the median")
