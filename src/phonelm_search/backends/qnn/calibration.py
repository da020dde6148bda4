"""Static graphs quantised by ranges that real text shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload, prefill
from phonelm_search.graph import (
    CpuSession,
    Feeds,
    QuantisedGraph,
    StaticGraph,
    WeightPool,
    build_static_graph,
    cache_ranges,
    empty_cache,
    feeds,
    quantise_graph,
    run_graph,
    save_graph,
    write_columns,
)

CALIBRATION_VERSION = 1
"""Counted up when other ranges come out, be it that the embedded text is another one."""
_PROMPTS, _STEPS, _SEED = 8, 16, 20
_RANGE_TOKENS = 128
"""Length of the prompts that set the cache's ranges: the same for every workload of a shape, since
what one graph writes another one reads."""
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """A static graph before and after quantisation, and inputs to compare them on."""

    graph: StaticGraph
    """What was built."""
    quantised: QuantisedGraph
    """The graph of integers."""
    test: Feeds
    """Inputs that it was not calibrated on."""
    expected: Feeds
    """Outputs of the fp32 graph on them."""


def quantised(
    shape: ModelShape, workload: Workload, precision: str, tokens: Tokens, folder: Path
) -> Quantised:
    """Build and quantise the static graph of a workload; takes several times its fp32 weights.

    Args:
        shape: The decoder.
        workload: Prefill of a prompt, or a decode step after a past that fills the cache.
        precision: Name of a ``qdq`` scheme.
        tokens: Text ``[n]`` to calibrate on, ids below the shape's vocabulary.
        folder: Where files go.

    Raises:
        MeasurementError: If the text is too short (stage ``compile``). The quantiser and the
            runtime raise errors of their own.
    """
    text = _Text(shape, tokens, folder)
    graph = static_graph(shape, workload)
    if workload.phase == "prefill":
        path = text.prompt_graph(workload.tokens)
        calibration = text.prompts(workload.tokens)
        test = text.held_out(workload.tokens)
    else:
        path = save_graph(folder / "step", graph.model, graph.tensors, WeightPool(_SEED))
        calibration = text.steps(workload.past_tokens)
        test = text.held_out_step(workload.past_tokens)
    made = quantise_graph(
        graph, path, get_precision(precision), calibration, text.cache_ranges(),
        folder / "quantised.onnx",
    )  # fmt: skip
    return Quantised(graph=graph, quantised=made, test=test, expected=run_graph(path, [test])[0])


def static_graph(shape: ModelShape, workload: Workload) -> StaticGraph:
    """The graph of a workload: a prompt's begins it, a step's cache is full."""
    return build_static_graph(shape, tokens=workload.tokens, cache_tokens=workload.past_tokens)


class _Text:
    """Inputs made of text, one after another: a cache of each at once would fill the memory."""

    def __init__(self, shape: ModelShape, tokens: Tokens, folder: Path) -> None:
        self._shape, self._tokens, self._folder = shape, tokens, folder
        self._paths: dict[int, Path] = {}

    def prompt_graph(self, length: int) -> Path:
        """File of the fp32 graph of a prompt."""
        if length not in self._paths:
            graph = static_graph(self._shape, prefill(length))
            folder = self._folder / f"prompt-{length}"
            self._paths[length] = save_graph(folder, graph.model, graph.tensors, WeightPool(_SEED))
        return self._paths[length]

    def prompts(self, length: int) -> Iterator[Feeds]:
        """Prompts to calibrate on."""
        for start in self._starts(length)[:-1]:
            yield feeds(self._tokens[start : start + length], cache_tokens=0, past=0)

    def held_out(self, length: int) -> Feeds:
        """A prompt that is not among them."""
        start = self._starts(length)[-1]
        return feeds(self._tokens[start : start + length], cache_tokens=0, past=0)

    def steps(self, past: int) -> Iterator[Feeds]:
        """Steps at many places of each prompt.

        A step is one token: from as few as there are prompts, ranges would come out too narrow.
        """
        places = np.unique(np.linspace(1, past, _STEPS).round().astype(int))
        run = CpuSession(self.prompt_graph(past))
        for start, prompt in zip(self._starts(past), self.prompts(past), strict=False):
            made = run(prompt)
            for place in places:
                yield self._step(start, int(place), past, made)

    def held_out_step(self, past: int) -> Feeds:
        """The step behind the prompt that is not among them."""
        made = CpuSession(self.prompt_graph(past))(self.held_out(past))
        return self._step(self._starts(past)[-1], past, past, made)

    def cache_ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest keys and values by layer."""
        run = CpuSession(self.prompt_graph(_RANGE_TOKENS))
        return cache_ranges(map(run, self.prompts(_RANGE_TOKENS)))

    def _step(self, start: int, place: int, past: int, made: Feeds) -> Feeds:
        cache = empty_cache(self._shape, past)
        columns = {k: v[:, :, :place] for k, v in made.items() if k.startswith("present.")}
        write_columns(cache, columns, past=0)
        new = self._tokens[start + place : start + place + 1]
        return feeds(new, cache_tokens=past, past=place, cache=cache)

    def _starts(self, length: int) -> Sequence[int]:
        """Where the texts begin: spread over what there is, the last one is held out."""
        last = len(self._tokens) - length - 1
        if last < 0:
            raise MeasurementError(
                f"the text must have more than {length} tokens, it has {len(self._tokens)}",
                stage="compile",
            )
        return [int(x) for x in np.linspace(0, last, _PROMPTS + 1)]
