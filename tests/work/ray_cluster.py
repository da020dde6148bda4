"""A cluster of real raylets on this machine, on ports of its own."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}
"""A node that is killed is noticed in seconds."""


class Nodes:
    """The nodes of a cluster: a head without processors, and what is added.

    Args:
        config: Settings of Ray's own.
    """

    def __init__(self, config: Mapping[str, int]) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "num_gpus": 0, "include_dashboard": False,
                "object_store_memory": 80 * 2**20, "_system_config": dict(config),
            },
        )  # fmt: skip

    @property
    def address(self) -> str:
        """Of the head."""
        return str(self._cluster.address)

    def add(self, resources: Mapping[str, float], *, cpus: int = 1) -> Any:
        """Start a node."""
        return self._cluster.add_node(
            num_cpus=cpus, num_gpus=0, resources=dict(resources), object_store_memory=80 * 2**20
        )

    def kill(self, node: Any) -> None:
        """End a node as a lost machine does."""
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@contextmanager
def own_token(folder: Path) -> Iterator[None]:
    """A token of the tests' own, and Ray's variables as we set them for whatever starts now."""
    import pytest

    from phonelm_search.work.ray_library import ray_library

    file = folder / "auth_token"
    file.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
        ray_library()
        yield


@contextmanager
def cluster(config: Mapping[str, int] = QUICK) -> Iterator[Nodes]:
    """Nodes whose processes find the tests' modules."""
    import pytest

    from phonelm_search.work import folder_under_way
    from phonelm_search.work.carrying import NODE_FOLDER
    from phonelm_search.work.ray_library import KEPT_PROCESSES

    with folder_under_way("phonelm-node-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        patch.setenv(NODE_FOLDER, str(folder))
        patch.setenv(KEPT_PROCESSES, "66")
        nodes = Nodes(config)
        try:
            yield nodes
        finally:
            nodes.stop()
