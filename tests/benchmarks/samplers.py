"""Which way of choosing shapes reaches the front soonest: ours, and Optuna's samplers.

    python tests/benchmarks/samplers.py RESULTS --space slm-100m -o results/samplers.csv
    python tests/benchmarks/samplers.py RESULTS --study small.host-cpu \
        --space tests/benchmarks/small.yaml -o results/samplers.csv

A replay: latencies of all shapes of a space are as measured, where the study measured all, else
those that a model of its measurements tells, with a deviation of 1 % that each has for itself;
losses are the law's. A measurement errs by 1 %, a score by 0.3 %. Optuna's samplers are told
measurement and score of what they asked; ours is told measurements alone, and asks the law for
losses, as a study does. After 20, 40 and 100 shapes: the hypervolume of what was asked over that of
the front of all, by true values.
"""

import argparse
import csv
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from archai_pareto import archai_rows
from common import say
from moocore import hypervolume

from phonelm_search.core.pareto import non_dominated
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Scenario
from phonelm_search.devices import load_device
from phonelm_search.measure import REFERENCE
from phonelm_search.quality.law import Dimensions, Points, QualityLaw, load_prior
from phonelm_search.reading import Readings, load_view
from phonelm_search.reading.modelled import near_front
from phonelm_search.search import front_gains
from phonelm_search.search.samplers import distributions, make_sampler
from phonelm_search.space import Columns, Coordinates, FeasibleSet, enumerate_space, load_space
from phonelm_search.speed import LatencyModel
from phonelm_search.store import Store

SCENARIO = Scenario(name="chat", prompt_tokens=256, generated_tokens=128)
COUNTS, MOST_MEASURED = (20, 40, 100), 2000
BATCH, DRAWS, MOST_REPEATS = 8, 200, 8
OWN, NOISE, SCORE_NOISE = 0.01, 0.01, 0.003
TRAIN_TOKENS = 1e10
FIELDS = ("space", "sampler", "seed", "shapes", "hypervolume")


class World:
    """True latency and loss of every shape of a space, and what a measurement of it gives."""

    def __init__(self, readings: Readings, feasible: FeasibleSet, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.feasible, self.columns = feasible, Columns.of_space(feasible)
        self._scheme = readings.place.device.scheme
        n = len(feasible)
        self.parts: list[Floats] = []
        ids = [feasible.shape(i).shape_id for i in range(n)] if n <= MOST_MEASURED else []
        for workload, comparison in readings.comparisons.items():
            if ids and set(ids) <= set(comparison.shape_ids):  # all of them were measured
                self.parts.append(np.array([comparison.log_ms(i).mean() for i in ids]))
                continue
            known = sorted(i for i in comparison.shape_ids if i != REFERENCE.shape_id)
            shapes = {i: readings.shapes[i] for i in known}
            model = LatencyModel.of(comparison, shapes, self._scheme, workload)
            self.parts.append(model.means(self.columns) + OWN * random.standard_normal(n))
        self.latency: Floats = np.asarray(SCENARIO.weights) @ np.exp(self.parts)
        law = QualityLaw(load_prior())
        points = Points(shapes=Dimensions.of(self.columns), tokens=np.full(n, TRAIN_TOKENS))
        self.loss = np.exp(law.means(points))
        self._random = random
        points_of_all = np.stack([self.latency, self.loss], axis=1)
        front = points_of_all[non_dominated(points_of_all)]
        self._corner = front.max(axis=0) * (1.02, 1.001)
        self._whole = float(hypervolume(front, ref=self._corner))

    def measured(self, rows: list[int]) -> list[Floats]:
        """``[draws, rows]`` of the logarithm of each workload's latency."""
        truth = [part[rows] for part in self.parts]
        seen = [t + NOISE * self._random.standard_normal(len(rows)) for t in truth]
        return [s + NOISE * self._random.standard_normal((DRAWS, len(rows))) for s in seen]

    def score(self, row: int) -> float:
        """Loss of a shape as a short training tells it."""
        return float(self.loss[row] * np.exp(SCORE_NOISE * self._random.standard_normal()))

    def reached(self, rows: list[int]) -> float:
        """Hypervolume of what was asked over that of all."""
        points = np.stack([self.latency[rows], self.loss[rows]], axis=1)
        inside = points[(points < self._corner).all(axis=1)]
        return float(hypervolume(inside, ref=self._corner)) / self._whole if len(inside) else 0.0


def ours(world: World, seed: int) -> Iterator[int]:
    """As `stages.predict` chooses: half at random, at most ten, then by expected gain."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(world.feasible))[:10].tolist()
    yield from rows
    drawn = world.measured(rows)
    workloads, scheme = SCENARIO.workloads, load_device("host-cpu").scheme
    weights = np.asarray(SCENARIO.weights)
    while len(rows) < COUNTS[-1]:
        columns = world.columns.rows(np.array(rows))
        models = [
            LatencyModel(columns, partial(np.copy, d), scheme, w)
            for d, w in zip(drawn, workloads, strict=True)
        ]
        latency = weights @ np.exp([m.means(world.columns) for m in models])
        near = near_front(latency, world.loss)
        near = near[~np.isin(near, rows)]
        chosen = telling(world, models, drawn, rows, near) if len(near) else []
        if not chosen:
            left = np.setdiff1d(np.arange(len(world.feasible)), rows)
            chosen = random.permutation(left)[:BATCH].tolist()
        yield from chosen
        drawn = [np.hstack([d, new]) for d, new in zip(drawn, world.measured(chosen), strict=True)]
        rows += chosen


def telling(
    world: World, models: list[LatencyModel], drawn: list[Floats], rows: list[int],
    near: np.ndarray,
) -> list[int]:  # fmt: skip
    """Rows of highest expected gain."""
    weights, some = np.asarray(SCENARIO.weights), world.columns.rows(near)
    draws = np.tensordot(
        weights, np.exp([m.draws(some, DRAWS, seed=i) for i, m in enumerate(models)]), 1
    )
    known = np.stack([weights @ np.exp([d.mean(axis=0) for d in drawn]), world.loss[rows]], axis=1)
    loss = world.loss[near]
    corner = max(known[:, 0].max(), draws.max()), max(known[:, 1].max(), loss.max())
    return [
        int(near[i])
        for i, _ in zip_first(front_gains(draws, loss, known, corner, np.ones(len(loss))))
    ]


def zip_first(found: Iterator[tuple[int, float]]) -> list[tuple[int, float]]:
    return [pair for pair, _ in zip(found, range(BATCH), strict=False)]


def optunas(name: str) -> Callable[[World, int], Iterator[int]]:
    """A sampler of Optuna that is told latency and loss, as `search.SearchDriver` asks it."""

    def asked(world: World, seed: int) -> Iterator[int]:
        coordinates = Coordinates(world.feasible)
        study = optuna.create_study(
            directions=["minimize", "minimize"], sampler=make_sampler(name, seed)
        )
        random = np.random.default_rng(seed)
        known: set[int] = set()
        repeats = 0
        while len(known) < len(world.feasible):
            if repeats >= MOST_REPEATS:  # as the driver: a shape that was not asked yet
                left = np.setdiff1d(np.arange(len(world.feasible)), list(known))
                study.enqueue_trial(coordinates.point(int(random.choice(left))))
            trial = study.ask(distributions(coordinates))
            row = coordinates.nearest(trial.params)
            repeats = repeats + 1 if row in known else 0
            known.add(row)
            (latency,) = SCENARIO.weights @ np.exp([d.mean(axis=0) for d in world.measured([row])])
            study.tell(trial, [float(latency), world.score(row)])
            yield row

    return asked


def archais(source: Path) -> Callable[[World, int], Iterator[int]]:
    """archai's evolution, told the same as Optuna's samplers."""

    def asked(world: World, seed: int) -> Iterator[int]:
        def evaluate(row: int) -> tuple[float, float]:
            (latency,) = SCENARIO.weights @ np.exp([d.mean(axis=0) for d in world.measured([row])])
            return float(latency), world.score(row)

        coordinates = Coordinates(world.feasible)
        size = len(world.feasible)
        yield from archai_rows(source, coordinates, size, evaluate, seed, COUNTS[-1])

    return asked


SAMPLERS: dict[str, Callable[[World, int], Iterator[int]]] = {
    "model": ours, "tpe": optunas("tpe"), "nsga2": optunas("nsga2"), "random": optunas("random"),
}  # fmt: skip


def distinct(rows: Iterator[int], count: int) -> Iterator[list[int]]:
    """The distinct rows so far, after each new one; a repeat costs nothing."""
    found: list[int] = []
    for row in rows:
        if row not in found:
            found.append(row)
            yield found
        if len(found) == count:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a database with a study")
    parser.add_argument("--study", default="slm-100m.host-cpu")
    parser.add_argument("--space", default="slm-100m")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--archai", type=Path, help="folder of archai's source, to run it beside")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    space = load_space(options.space)
    (readings,) = load_view(Store(options.results, create=False), options.study).readings
    feasible = enumerate_space(space, readings.place.device.scheme)
    if not options.output.exists():
        options.output.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    with options.output.open(newline="", encoding="utf-8") as file:
        done = {(r["space"], r["sampler"], r["seed"]) for r in csv.DictReader(file)}
    beside = {"archai": archais(options.archai)} if options.archai else {}
    for seed in range(options.seeds):
        for name, sampler in {**SAMPLERS, **beside}.items():
            if (space.name, name, str(seed)) in done:
                continue
            world = World(readings, feasible, seed)
            told = [
                (len(rows), world.reached(rows))
                for rows in distinct(sampler(world, seed), COUNTS[-1])
                if len(rows) in COUNTS
            ]
            say(f"{space.name} {name} {seed}: " + ", ".join(f"{n}: {v:.3f}" for n, v in told))
            with options.output.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([space.name, name, seed, n, round(v, 4)] for n, v in told)


if __name__ == "__main__":
    main()
