"""Names of studies, and of the folders that hold their files."""

import hashlib
import re

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""What a person may call a study."""
_OTHERS = re.compile(r"[^A-Za-z0-9+-]+")


def folder_name(study: str) -> str:
    """The folder of a study: its name, or one made of it where a database holds any other text.

    Such a text may be a path; what is made of it is one step down and never up.
    """
    if STUDY_NAME.fullmatch(study):
        return study
    words = _OTHERS.sub("_", study)[:60].strip("_+-") or "study"
    digest = hashlib.sha256(study.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{words}-{digest[:8]}"
