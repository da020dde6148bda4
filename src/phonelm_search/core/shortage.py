"""Memory that did not suffice, by what libraries say in its place."""

import errno

from phonelm_search.core.units import format_bytes

_WORDS = (
    "failed to map segment",
    "cannot allocate memory",
    "can't allocate memory",
    "memoryerror",
    "std::bad_alloc",
    "can't start new thread",
    "unable to allocate",
)
_WANTED_BYTES = 6 * 10**9
"""Address space of a search with its training processes, each; most of it is never touched."""


def memory_shortage(error: BaseException) -> str | None:
    """A sentence on memory where that is what an error, or its cause, is about; else None."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        text = str(cause) or type(cause).__name__
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM:
            return shortage_text(text)
        if tells_shortage(text):
            return shortage_text(text)
        cause = cause.__cause__ or cause.__context__
    return None


def tells_shortage(text: str) -> bool:
    """Whether what a library or a process said last is that memory ran out."""
    return any(words in text.lower() for words in _WORDS)


def shortage_text(said: str) -> str:
    """How much is wanted, how much a process may have, and what was said."""
    limit = _limit_bytes()
    has = "" if limit is None else f", and this process may have {format_bytes(limit)} (ulimit -v)"
    first = (said.strip().splitlines() or ["MemoryError"])[-1]
    return (
        f"memory must suffice, about {format_bytes(_WANTED_BYTES)} of address space for each "
        f"process{has}: {first}; raise the limit, or end other programs"
    )


def _limit_bytes() -> int | None:
    """What a process may have of address space; None where nobody limits it."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
