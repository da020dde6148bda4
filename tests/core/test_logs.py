"""What a library may log is the host program's choice, before and after our calls."""

import logging

import pytest

from phonelm_search.core.logs import quiet


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.CRITICAL])
def test_the_level_is_what_it_was_also_after_an_error(level: int) -> None:
    logger = logging.getLogger("a-library")
    logger.setLevel(level)
    with quiet("a-library"):
        assert logger.level == logging.ERROR
    assert logger.level == level
    with pytest.raises(ValueError, match="gone wrong"), quiet("a-library"):
        raise ValueError("gone wrong")
    assert logger.level == level
