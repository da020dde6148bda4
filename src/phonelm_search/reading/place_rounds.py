"""Rounds of shapes at one place, kept for the next reading by columns.

A large study has a million rounds. They are read when there is another one, and otherwise what
they come to is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from phonelm_search.core.records import identity
from phonelm_search.core.workload import Scenario, Workload
from phonelm_search.measure import LatencyComparison, RoundColumns, keep_arrays, kept_arrays
from phonelm_search.reading.judged import JudgedColumns
from phonelm_search.reading.place import Place
from phonelm_search.store import Store

_VERSION = "1"  # of what is kept, and of the rules by which rounds are judged together
K = TypeVar("K", JudgedColumns, RoundColumns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRounds:
    """What a place's rounds say of shapes."""

    state: str
    """Of the environment's rounds, see `Store.rounds_state`."""
    judged: JudgedColumns
    """How they were judged, in the order of the shapes."""
    comparisons: dict[Workload, LatencyComparison]
    """Shapes beside each other, for each workload that has rounds."""


def place_rounds(
    store: Store, place: Place, scenario: Scenario, shape_ids: Sequence[str]
) -> PlaceRounds:
    """Rounds of shapes at one place, and of all that shared a process with them.

    Raises:
        StoreError: If the database cannot be read.
    """
    # Asked first: of rounds that come meanwhile the next reading hears.
    state = store.rounds_state(place.environment_id)
    digest = f"{_VERSION} {state}"
    folder = store.results / "cache/effects"
    shapes = sorted(shape_ids)

    comparisons = {}
    for workload in scenario.workloads:
        common = place.common(workload)
        work = (workload.phase, workload.tokens, workload.past_tokens)
        name = identity({**common, "work": work, "shapes": shapes})
        file = folder / f"{name}.rounds.npz"
        rounds = _kept(RoundColumns, file, digest)
        if rounds is None and (found := store.companion_rounds(shape_ids, workload, common)):
            rounds = RoundColumns.of(found)
            keep_arrays(file, digest, rounds.arrays())
        if rounds is not None:
            comparisons[workload] = LatencyComparison(rounds, file=folder / f"{name}.npz")
    told = [place.common(w) for w in scenario.workloads]
    name = identity({"common": told, "scenario": str(scenario), "shapes": list(shape_ids)})
    file = folder / f"{name}.judged.npz"
    judged = _kept(JudgedColumns, file, digest)
    if judged is None:
        keys = [list(place.keys(shape_ids, w)) for w in scenario.workloads]
        file_keys = list(place.keys(shape_ids, scenario.workloads[0], "file"))
        where = place.environment_id
        judged = JudgedColumns.of(
            store.judged_rounds(shape_ids=shape_ids, environment_id=where), keys, file_keys
        )
        keep_arrays(file, digest, judged.arrays())
    return PlaceRounds(state=state, judged=judged, comparisons=comparisons)


def _kept(columns: type[K], file: Path, digest: str) -> K | None:
    """Columns that were kept with a digest."""
    found = kept_arrays(file, digest)
    if found is None:
        return None
    try:
        return columns.of_arrays(found)
    except (ValueError, KeyError, TypeError):
        return None  # it was damaged
