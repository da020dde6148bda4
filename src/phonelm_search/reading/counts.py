"""Numbers of a study's shapes, as lists of studies show them."""

from dataclasses import replace

from phonelm_search.core.records import StudyRecord
from phonelm_search.core.workload import Scenario
from phonelm_search.reading.place import places_of
from phonelm_search.reading.trained import ladder_of, settings_of_old_scores
from phonelm_search.store import Store, StudyCounts


def count_shapes(store: Store, record: StudyRecord) -> StudyCounts:
    """Count what `load_view` would read, without reading it.

    Raises:
        StoreError: If the database cannot be read.
    """
    places = places_of(record)
    workloads = Scenario.parse(record.config["scenario"]).workloads
    settings_id, seeds = settings_of_old_scores(record)
    counts = store.study_counts(
        record.name,
        [{w: place.common(w) for w in workloads} for place in places],
        settings_id=settings_id,
        seeds=seeds,
    )
    ladder = ladder_of(record)
    return replace(counts, trained=len(ladder)) if ladder else counts
