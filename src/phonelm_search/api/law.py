"""Functions of the commands about the quality law."""

from pathlib import Path

import pandas as pd

from phonelm_search import stages


def show_law(law: str | Path | None = None) -> pd.DataFrame:
    """Coefficients of a law with 95 % intervals; sources and evidence in ``attrs``.

    Args:
        law: Its file; None: the one that ships with the package.
    """
    return _frame(stages.show_law(_path(law)))


def fit_law(
    observations: str | Path,
    *,
    output: str | Path = Path("law.json"),
    law: str | Path | None = None,
) -> pd.DataFrame:
    """Add own trainings to a law, write it, and give its coefficients.

    Args:
        observations: CSV file of trainings, columns as `phonelm-search law fit --help` names them.
        output: File of the new law.
        law: File of the law before; None: the one that ships with the package.
    """
    return _frame(stages.fit_law(Path(observations), Path(output), law=_path(law)))


def check_law(observations: str | Path, *, law: str | Path | None = None) -> pd.DataFrame:
    """How a law orders trainings that it has not seen: a row a data set, and one for all.

    Args:
        observations: CSV file of trainings.
        law: File of the law; None: the one that ships with the package.
    """
    return pd.DataFrame(stages.check_trainings(Path(observations), law=_path(law)))


def _path(law: str | Path | None) -> Path | None:
    return None if law is None else Path(law)


def _frame(table: stages.LawTable) -> pd.DataFrame:
    frame = pd.DataFrame(table.rows)
    frame.attrs = {"sources": table.sources, "evidence": table.evidence}
    return frame
