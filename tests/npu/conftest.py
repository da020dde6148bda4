"""The HTP backend that computes what an NPU would exists for x86-64 alone."""

import platform

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        for item in items:
            if item.path.parent.name == "npu":
                item.add_marker(pytest.mark.skip(reason="no HTP backend for this processor"))
