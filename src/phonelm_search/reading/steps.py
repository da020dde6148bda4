"""What one step of each dimension of a shape does, the others held, as the models tell it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats, percentile_interval
from phonelm_search.reading.sensitivity import Effect
from phonelm_search.reading.view import StudyView
from phonelm_search.space import Columns

_DRAWS = 400
_FFN_STEP = 0.25  # of the feed-forward ratio


def step_effects(view: StudyView, shape: ModelShape) -> tuple[Effect, ...]:
    """A step of each dimension.

    Args:
        view: The study; its models must hold.
        shape: Where the steps begin.

    Raises:
        ModelError: If nothing tells other shapes.
    """
    steps = list(_steps(view, shape))
    columns = Columns.of([shape, *(after for *_, after in steps)])
    models = view.models
    loss = models.loss_ratio(columns, shape)
    times = models.places[0].time_draws(columns, _DRAWS)
    names = {"ttft": "prefill", "tpot": "decode", "latency": "end to end"}
    drawn: dict[str, Floats] = {names[n]: d for n, d in times.items()}
    found = []
    for i, (name, low, high, _) in enumerate(steps, start=1):
        percent, interval = {}, {}
        for quantity, draws in drawn.items():
            ratios = 100 * (draws[:, i] / draws[:, 0] - 1)
            percent[quantity] = float(np.median(ratios))
            interval[quantity] = percentile_interval(ratios)
        ends = loss.mean[i] + Z_95 * loss.deviation[i] * np.array([0, -1, 1])
        percent["loss"], *both = (100 * np.expm1(ends)).tolist()
        interval["loss"] = (both[0], both[1])
        found.append(Effect(dimension=name, low=low, high=high, percent=percent, interval=interval))
    return tuple(found)


def _steps(view: StudyView, shape: ModelShape) -> Iterator[tuple[str, str, str, ModelShape]]:
    """Name, value before and after, and the shape after."""
    space = view.record.config["space"]
    unit = space.get("multiple_of") or 1

    def rounded(size: float) -> int:
        return max(unit, round(size / unit) * unit)

    layers = shape.num_hidden_layers
    deeper = replace(shape, num_hidden_layers=layers + 1)
    yield "layers", str(layers), str(layers + 1), deeper
    groups = shape.kv_groups
    width = shape.hidden_size * (shape.num_attention_heads + groups) // shape.num_attention_heads
    wider = replace(
        shape, hidden_size=width, num_attention_heads=shape.num_attention_heads + groups,
        num_key_value_heads=shape.num_key_value_heads + 1,
        intermediate_size=rounded(shape.ffn_ratio * width),
    )  # fmt: skip
    yield "width", str(shape.hidden_size), str(width), wider
    more_inner = max(unit, _FFN_STEP * shape.hidden_size)
    inner = rounded(shape.intermediate_size + more_inner)
    more = replace(shape, intermediate_size=inner)
    yield "FFN", str(shape.intermediate_size), str(inner), more
    heads = shape.num_key_value_heads
    if heads > 1 and heads % 2 == 0:
        fewer = replace(shape, num_key_value_heads=heads // 2)
        yield "KV heads", str(heads), str(heads // 2), fewer
    for name in space.get("hidden_act", ()):
        if name != shape.hidden_act:
            other = replace(shape, hidden_act=name)
            yield "activation", shape.hidden_act, name, other
