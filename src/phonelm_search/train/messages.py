"""What a message can hold of a name that somebody chose."""

_SHOWN = 200


def shortened(name: object) -> str:
    """A name or path, its end left out where it is long."""
    text = str(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
