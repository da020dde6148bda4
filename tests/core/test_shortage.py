"""Memory that did not suffice is told by what libraries say in its place."""

import resource

import pytest

from phonelm_search.core.shortage import memory_shortage, tells_shortage
from phonelm_search.work import why_it_ended

TORCH = "libtorch_cpu.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError(TORCH), OSError(12, "Cannot allocate memory"),
     RuntimeError("can't start new thread"),
     RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8589934592 bytes")],
)  # fmt: skip
def test_a_shortage_says_how_much_is_wanted_and_what_there_is(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (900_000_000, -1))
    outer = ImportError("numpy must be importable")
    outer.__cause__ = error
    for each in (error, outer):
        text = memory_shortage(each)
        assert text is not None
        assert text.startswith("memory must suffice, about 6 GB of address space for each process")
        assert "and this process may have 900 MB (ulimit -v): " in text
        assert text.endswith("; raise the limit, or end other programs")
        assert "\n" not in text


def test_other_errors_are_no_shortage() -> None:
    assert memory_shortage(ValueError("memory is a word")) is None
    assert memory_shortage(OSError(28, "No space left on device")) is None
    assert not tells_shortage("the child process failed")


def test_a_child_that_lacked_memory_says_so() -> None:
    said = f"Traceback (most recent call last):\n  x\nImportError: {TORCH}\n"
    assert "memory must suffice" in why_it_ended(1, said)
    assert TORCH in why_it_ended(1, said)
