"""Documents of a dataset that the ``datasets`` package reads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import TrainingError, first_line
from phonelm_search.core.units import format_some
from phonelm_search.train.messages import shortened
from phonelm_search.train.sources import DATASET
from phonelm_search.train.textfile import KEYS, keys_text, text_in, text_key

_SHOWN = 20


def dataset_documents(name: str, *, note: Callable[[str], None]) -> Iterator[str]:
    """Documents of a dataset's train split, as they come.

    Args:
        name: ``NAME`` or ``NAME:CONFIG``, of the Hub or of a folder.
        note: Told what a person should know.

    Raises:
        TrainingError: If it cannot be read; of several configurations, names them.
    """
    try:
        import datasets
    except ImportError as error:
        raise TrainingError(
            f"{DATASET}{shortened(name)} needs the datasets package: "
            "pip install 'phonelm-search[hf]'"
        ) from error
    path, config = _parts(name)
    if not path.strip():
        raise TrainingError(f"--data must name a dataset as {DATASET}NAME, got '{DATASET}{name}'")
    key: str | None = None
    try:
        for record in datasets.load_dataset(path, config, split="train", streaming=True):
            if key is None:
                key = text_key(record)
                if key is None:
                    raise ValueError(f"its columns are {keys_text(record)}")
                if key != KEYS[0]:
                    note(f'{path}: its column "{key}" is trained on')
            yield text_in(record, key)
    except Exception as error:  # whatever reads it: the network, a loader, Arrow
        raise TrainingError(_refusal(path, config, error, datasets)) from error


def _parts(name: str) -> tuple[str, str | None]:
    path, colon, config = name.rpartition(":")
    return (path, config or None) if colon and not Path(name).exists() else (name, None)


def _refusal(path: str, config: str | None, error: Exception, datasets: Any) -> str:
    configs = _configs(path, datasets) if isinstance(error, ValueError) else []
    shown = shortened(path)
    if configs and config not in configs and (config or len(configs) > 1):
        got = f"there is no {shortened(config)}" if config else "none is named"
        return (
            f"the dataset {shown} must be named with one of its configurations, "
            f"{format_some([c[:40] for c in configs], _SHOWN)}, {got}; give "
            f"{DATASET}{shown}:{configs[0][:40]}"
        )
    return (
        f'the dataset {shown} must be readable, with a train split and a column "text" (or '
        f"{', '.join(KEYS[1:])}): {shortened(first_line(error))}"
    )


def _configs(path: str, datasets: Any) -> list[str]:
    try:
        return list(datasets.get_dataset_config_names(path))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError):
        return []  # the first failure is the one to tell
