"""What a person says of the model that they will train; a study keeps it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phonelm_search.core.budget import Budget, budgets_of, with_budgets
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenLaw:
    """The law that shall tell a study's losses before it trains anything."""

    document: dict[str, Any] | None
    """As a study keeps it; None: the package's own."""


def read_law(law: str | Path | None) -> ChosenLaw | None:
    """Read a law before anything is started with it.

    Args:
        law: A file that `fit_law` wrote; ``shipped``: the package's own again; None: leave it.

    Raises:
        ConfigurationError: If the file cannot be read, or is no law.
    """
    if law is None:
        return None
    file = own_law(law)
    return ChosenLaw(document=encode_prior(load_prior(file)) if file else None)


def set_law(session: Session, law: ChosenLaw | None) -> None:
    """Keep a law with the study; None leaves the one that it has."""
    if law is not None:
        session.configure("law", law.document)


def set_budgets(session: Session, budgets: Sequence[Budget]) -> None:
    """Keep what the pick must keep; quantities that are not given stay as they are."""
    if budgets:
        known = budgets_of(session.store.study(session.study).config)
        session.configure("budgets", [asdict(b) for b in with_budgets(known, budgets)])
