"""``phonelm-search explain``: why a shape, beside its neighbours."""

from typing import TYPE_CHECKING, Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, tell
from phonelm_search.core import defaults as d

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonelm_search.core.latency import Extent
    from phonelm_search.reading import Effect, Explanation, Neighbour, Pick, StudyRow, Versus

NAME = "explain"
HELP = (
    "Tell why a shape: its neighbours of equal size, what each dimension buys, what kernels may "
    "not like, what contexts cost. Example: phonelm-search explain slm-100m.host-cpu w1024-l7; "
    "phonelm-search explain slm-100m.host-cpu 768x8 SmolLM2-135M"
)


def command(
    study: o.StudyArgument,
    shape: Annotated[
        str | None,
        typer.Argument(
            help="Shape id, its beginning, a label (768x8) or a reference's name, measured or "
            "predicted; default: the pick."
        ),
    ] = None,
    other: Annotated[
        str | None, typer.Argument(help="A second shape: tells the first one against it.")
    ] = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Explain a shape of a study."""
    from phonelm_search.outputs import explanation_document, versus_document
    from phonelm_search.reading import compare_shapes, explain_shape, find_rows, load_view
    from phonelm_search.store import Store

    view = load_view(Store(results, url=storage, create=False), study)
    if shape is not None and other is not None:
        beside, (one, against) = find_rows(view, [shape, other])
        pair = compare_shapes(beside, one, against)
        if as_json:
            document = versus_document(beside, pair)
            print_json(document.pop("rows"), **document)
            return
        for line in _versus_lines(pair):
            tell(line)
        return
    explanation, pick = explain_shape(view, shape)
    if as_json:
        document = explanation_document(view, explanation, pick)
        print_json(document.pop("rows"), **document)
        return
    for line in _lines(explanation, pick):
        tell(line)


def _lines(found: "Explanation", pick: "Pick | None") -> "Iterator[str]":
    from phonelm_search.core.units import format_bytes, format_count, format_counted, format_ms

    row, shape = found.row, found.row.shape
    yield (
        f"{row.label} ({shape.shape_id}): {format_count(shape.decoder_parameters)} decoder "
        f"parameters, {format_count(shape.parameters)} in all; {_state(row)}"
    )
    if pick:
        yield f"  the {'provisional ' if pick.provisional else ''}pick: {pick.why}"
        yield from (f"  provisional: {doubt}" for doubt in pick.provisional)
    for reason in row.reasons:
        yield f"  suspect: {reason.text}"
    for note in row.notes:
        yield f"  note: {note}"
    yield f"  {row.latency_text}, end to end"
    for device, time in row.times.items():
        ttft, tpot, whole = time.ttft, time.tpot, time.end_to_end
        yield (
            f"  {time.scenario} on {device}: TTFT {format_ms(ttft.ms)} ms "
            f"({format_ms(ttft.low_ms)} to {format_ms(ttft.high_ms)}), "
            f"TPOT {format_ms(tpot.ms)} ms ({format_ms(tpot.low_ms)} to {format_ms(tpot.high_ms)}),"
            f" end to end {format_ms(whole.ms)} ms"
        )
    low, high = row.loss.low - 1, row.loss.high - 1
    yield (
        f"  loss {row.loss.value - 1:+.1%} ({low:+.1%} to {high:+.1%}) against {row.baseline}, by "
        f"the law; {100 * row.prior_share:.0f} % of the prior's variance is left"
    )
    if row.bits_per_byte is not None and row.score:
        half = f" ± {row.score.interval:.3f}" if row.score.interval else ""
        yield f"  bits per byte of an earlier release's training: {row.bits_per_byte:.3f}{half}"
    if found.worth and found.worth.text:
        yield f"  worth: {found.worth.text}"
    if found.chance is not None:
        front = "modelled front of all shapes" if row.kind == "predicted" else "front"
        yield f"  on the {front} in {found.chance:.0%} of joint draws of latency and loss"
    if found.kept is not None:
        yield f"  keeps the study's budgets with {found.kept:.0%} probability"
    yield ""
    equals = format_counted(found.equals, "sampled shape")
    yield f"Neighbours of equal size (± 5 %): {equals} of the study"
    for title, members in (("faster", found.faster), ("better", found.better)):
        if not members:
            yield f"  none is {title}"
        for near in members:
            yield f"  {title}: {_near(near)}"
    yield ""
    yield "What one step of each dimension does, the others held, by the models (95 %)"
    for effect in found.effects:
        yield f"  {_effect(effect)}"
    if found.missing:
        yield f"  not known: {found.missing}"
    yield ""
    yield "Cliffs"
    for cliff in found.cliffs:
        yield f"  {cliff}"
    yield ""
    yield "Memory"
    for m in found.memory:
        yield (
            f"  {m.context_tokens:,} tokens: KV cache {format_bytes(m.kv_bytes)}, "
            f"with weights {format_bytes(m.total_bytes)}"
        )
    yield (
        f"  --max-memory is held against weights and cache at the scenario's end: "
        f"{format_bytes(found.memory_bytes)}"
    )
    if row.peak_bytes:
        yield (
            f"  measured peak, with activations and the runtime itself: "
            f"{format_bytes(row.peak_bytes)}"
        )


def _state(row: "StudyRow") -> str:
    """How a row's time is known."""
    if row.kind == "predicted":
        return "PREDICTED from other shapes, not measured"
    return f"{row.kind}, {row.verdict}"


def _versus_lines(found: "Versus") -> "Iterator[str]":
    from phonelm_search.core.units import format_bytes, format_difference

    one, other = found.one, found.other
    yield f"{one.label} ({one.shape.shape_id}) against {other.label} ({other.shape.shape_id}), 95 %"
    for row in (one, other):
        if row.kind == "predicted":
            yield f"  {row.shape.shape_id} is {_state(row)}"
    for r in found.ratios:
        chance = f"{r.less_probability:.0%} that the first has less"
        yield f"  {r.quantity} {format_difference(*r.ratio)}, {chance}"
    memory = [format_bytes(b) for b in found.memory]
    yield f"  memory at the scenario's end {memory[0]} against {memory[1]}"
    kv = [format_bytes(b) for b in found.kv_bytes]
    yield f"  KV cache {kv[0]} against {kv[1]} for each token of context"
    if found.crossing:
        faster = "first" if found.kv_bytes[0] < found.kv_bytes[1] else "second"
        yield (
            f"  beyond {found.crossing:,} tokens of context a step of the {faster} is the faster "
            "one, by the bytes of the cache at the bandwidth that was measured"
        )


def _near(near: "Neighbour") -> str:
    state = "" if near.row.kind == "measured" else ", estimated"
    state += "" if near.row.verdict == "valid" else f", itself {near.row.verdict}"
    time = _ratio(near.latency_ratio, "time", apart=near.latency_differs)
    loss = _ratio(near.loss_ratio, "loss", apart=near.loss_differs)
    changes = ", ".join(near.changes)
    return f"{near.row.label}, {time}{state}, {loss}: {changes} [{near.row.shape.shape_id}]"


def _ratio(ratio: "Extent", name: str, *, apart: bool) -> str:
    text = f"{ratio.value - 1:+.1%} {name} ({ratio.low - 1:+.1%} to {ratio.high - 1:+.1%})"
    return text if apart else f"{text}, not told apart"


def _effect(effect: "Effect") -> str:
    parts = []
    for name, percent in effect.percent.items():
        found = effect.interval[name]
        interval = f" ({found[0]:+.1f} to {found[1]:+.1f})" if found else ""
        parts.append(f"{name} {percent:+.1f} %{interval}")
    return f"{effect.dimension} {effect.low} → {effect.high}: {', '.join(parts)}"
