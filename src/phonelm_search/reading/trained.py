"""Which trainings a study's record names."""

from collections.abc import Mapping
from typing import Any

from phonelm_search.core.records import StudyRecord


def ladder_of(record: StudyRecord) -> list[Mapping[str, Any]]:
    """Trainings that count in a study: ``{"shape_id", "settings_id", "seed"}`` each."""
    found: list[Mapping[str, Any]] = (record.config.get("score") or {}).get("ladder", [])
    return found


def settings_of_old_scores(record: StudyRecord) -> tuple[str, list[int]]:
    """Settings and seeds of the scores that an earlier release kept with a study."""
    scored = record.config.get("score") or {}
    return scored.get("settings_id", ""), scored.get("seeds") or [scored.get("seed", 0)]
