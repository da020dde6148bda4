"""What was trained for a study, as evidence of its quality law."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phonelm_search.core.records import ProxyScore, StudyRecord
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import Score, gather
from phonelm_search.quality.law import Training
from phonelm_search.reading.trained import ladder_of, settings_of_old_scores
from phonelm_search.store import Store


def load_ladder(store: Store, record: StudyRecord) -> tuple[ProxyScore, ...]:
    """The trainings of a study's ladder, in their order.

    Raises:
        StoreError: If the database cannot be read.
    """
    wanted = [(r["settings_id"], r["shape_id"], r["seed"]) for r in ladder_of(record)]
    known = {
        (s.settings_id, s.shape_id, s.seed): s
        for settings_id in dict.fromkeys(key[0] for key in wanted)
        for s in store.scores(
            shape_ids=[key[1] for key in wanted if key[0] == settings_id], settings_id=settings_id
        )
    }
    return tuple(known[key] for key in wanted if key in known)


def old_scores(store: Store, record: StudyRecord, shape_ids: Sequence[str]) -> dict[str, Score]:
    """Scores of earlier releases, which trained the shapes of a study or miniatures of them.

    Raises:
        StoreError: If the database cannot be read.
    """
    settings_id, seeds = settings_of_old_scores(record)
    if not settings_id:
        return {}
    found = store.scores(shape_ids=shape_ids, settings_id=settings_id)
    return gather(s for s in found if s.seed in seeds)


def longest_trainings(records: Iterable[ProxyScore]) -> list[ProxyScore]:
    """Of each shape and seed the longest training that has a curve, shorter ones first."""
    longest = {}
    for record in sorted(records, key=lambda r: r.tokens):
        if record.curve:
            longest[record.shape_id, record.seed] = record
    return list(longest.values())


def law_trainings(records: Iterable[ProxyScore]) -> list[Training]:
    """Trainings that came to an end, as observations of the law."""
    return [
        Training(
            shape=ModelShape(**record.trained),
            tokens=float(record.tokens),
            loss=record.bits_per_byte,
            dataset=dataset_of(record.settings),
            seed=str(record.seed),
        )
        for record in records
        if record.bits_per_byte  # a loss of 0 is no loss
    ]


def dataset_of(settings: Mapping[str, Any]) -> str:
    """Losses compare where text, tokenizer and way of training are the same."""
    return f"{settings.get('corpus')} {settings.get('version')} {settings.get('lr_factor')}"
