"""archai's EvolutionParetoSearch over rows of a space, for `samplers.py`.

Its source is no part of this project. Needs a folder with archai's package and, beside ours,
`overrides`, `tqdm` and what else it imports.
"""

import contextlib
import importlib.util
import io
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.space import Coordinates

ITERATIONS, FIRST = 60, 10


def archai_rows(
    source: Path, coordinates: Coordinates, size: int,
    evaluate: Callable[[int], tuple[float, float]], seed: int, count: int,
) -> list[int]:  # fmt: skip
    """Rows in the order in which archai's search evaluates them, at least ``count``.

    A mutation draws one dimension anew, a crossover takes each from one of two parents; both are
    decoded to the nearest row, as `search.SearchDriver` does.
    """
    sys.path.insert(0, str(source))
    api = "archai.discrete_search.api"
    model_type = importlib.import_module(f"{api}.archai_model").ArchaiModel
    space_type = importlib.import_module(f"{api}.search_space").EvolutionarySearchSpace
    evaluator_type = importlib.import_module(f"{api}.model_evaluator").ModelEvaluator
    objectives_type = importlib.import_module(f"{api}.search_objectives").SearchObjectives
    results = importlib.import_module(f"{api}.search_results").SearchResults
    # By its file: its package imports what newer releases of `overrides` refuse.
    file = source / "archai/discrete_search/algos/evolution_pareto.py"
    spec = importlib.util.spec_from_file_location("evolution_pareto", file)
    assert spec is not None, file
    assert spec.loader is not None, file
    search: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(search)
    random = np.random.default_rng(seed)
    asked: list[int] = []

    def model(row: int) -> Any:
        return model_type(row, str(row), {"row": row})

    class Space(space_type):  # type: ignore[misc, valid-type]
        @_overriding
        def random_sample(self) -> Any:
            return model(int(random.integers(size)))

        @_overriding
        def mutate(self, arch: Any) -> Any:
            point = coordinates.point(arch.metadata["row"])
            name = random.choice(sorted(point))
            point[name] = coordinates.point(int(random.integers(size)))[name]
            return model(coordinates.nearest(point))

        @_overriding
        def crossover(self, arch_list: Any) -> Any:
            one, other = (coordinates.point(a.metadata["row"]) for a in arch_list)
            mixed = {n: (one if random.random() < 0.5 else other)[n] for n in one}
            return model(coordinates.nearest(mixed))

        @_overriding
        def save_arch(self, model: Any, file_path: Any) -> None: ...
        @_overriding
        def load_arch(self, file_path: Any) -> Any: ...
        @_overriding
        def save_model_weights(self, model: Any, file_path: Any) -> None: ...
        @_overriding
        def load_model_weights(self, model: Any, file_path: Any) -> None: ...

    class Value(evaluator_type):  # type: ignore[misc, valid-type]
        def __init__(self, place: int) -> None:
            self.place = place

        @_overriding
        def evaluate(self, model: Any, budget: Any = None) -> float:
            row = model.metadata["row"]
            if self.place == 0:
                asked.append(row)
                if len(set(asked)) > count:
                    raise _Enough
            return evaluate(row)[self.place]

    objectives = objectives_type()
    for place, name in enumerate(("latency", "loss")):
        objectives.add_objective(
            name, Value(place), higher_is_better=False, compute_intensive=False
        )
    results.save_all_2d_pareto_evolution_plots = lambda self, folder: None  # takes most of its time
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        run = search.EvolutionParetoSearch(
            Space(), objectives, folder, num_iters=ITERATIONS, init_num_models=FIRST,
            save_pareto_model_weights=False, clear_evaluated_models=False, seed=seed,
        )  # fmt: skip
        with contextlib.suppress(_Enough):
            run.search()
    return asked


def _overriding(method: Any) -> Any:
    """What `overrides` asks for; its own decorator does not find bases that are local names."""
    method.__override__ = True
    return method


class _Enough(Exception):
    """As many rows were evaluated as are wanted."""
