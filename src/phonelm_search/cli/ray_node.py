"""``phonelm-search ray-node``: this machine as a node of a cluster."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "ray-node"
HELP = (
    "Start a Ray cluster, or join one, with the phones and processors of this machine; runs until "
    "Ctrl-C. Examples: phonelm-search ray-node --listen 192.168.1.5; phonelm-search ray-node "
    "--address 192.168.1.5:6379 --listen 192.168.1.6 --device pixel-8 --serial 0A1B2C3D"
)


def command(
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="A profile that this machine measures on; repeats."),
    ] = None,
    serial: o.SerialsOption = None,
    trainings: Annotated[
        int | None,
        typer.Option(
            "--trainings",
            min=0,
            max=1024,
            help="Trainings at once. Default: one for each GPU; without GPUs one for each "
            "processor, and none where this machine measures.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="HOST:PORT of the head to join; without it this is one."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            help="Address of this machine that the other nodes reach it at. Nothing is encrypted, "
            "and who has the cluster's token (~/.ray/auth_token) can run programs here.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Of the head.")
    ] = d.DEFAULT_RAY_PORT,
) -> None:
    """Be a node until Ctrl-C."""
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.stages import run_ray_node

    with ProgressReporter() as report:
        run_ray_node(
            device or (), serials=serial or (), trainings=trainings, address=address,
            listen=listen, port=port, report=report, on_ready=say,
        )  # fmt: skip
