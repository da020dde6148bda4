"""Child processes as places."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phonelm_search.work import LocalPlace
from work.place_contract import PlaceContract

TESTS = Path(__file__).parents[1]


class TestLocalPlace(PlaceContract):
    """See `PlaceContract`."""

    @pytest.fixture
    def places(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LocalPlace]]:
        monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=":")
        places = [LocalPlace(f"place {n}") for n in range(2)]
        yield places
        for place in places:
            place.stop()
