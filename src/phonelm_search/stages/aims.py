"""What a person says of the model that they will train; a study keeps it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from phonelm_search.core.budget import Budget
from phonelm_search.core.defaults import SHIPPED_LAW
from phonelm_search.quality.law import encode_prior, load_prior
from phonelm_search.stages.session import Session


def set_train_tokens(session: Session, tokens: float | None) -> None:
    """Keep how long a person will train, where they say so."""
    if tokens is not None:
        session.configure("train_tokens", float(tokens))


def own_law(law: str | Path | None) -> Path | None:
    """The file of a law that a person named; None where the package's own is meant."""
    return None if law is None or str(law) == SHIPPED_LAW else Path(law)


def set_law(session: Session, law: str | Path | None) -> None:
    """Keep the law that tells the study's losses before it trains anything.

    Args:
        session: The study.
        law: A file that `fit_law` wrote; ``shipped``: the package's own again; None leaves it.

    Raises:
        ConfigurationError: If the file cannot be read, or is no law.
    """
    if law is not None:
        file = own_law(law)
        session.configure("law", encode_prior(load_prior(file)) if file else None)


def set_budgets(session: Session, budgets: Sequence[Budget]) -> None:
    """Keep what the pick must keep, where there is anything."""
    if budgets:
        session.configure("budgets", [asdict(b) for b in budgets])
