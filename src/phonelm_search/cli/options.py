"""Options that several commands share."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from phonelm_search.core.defaults import DEFAULT_BUDGET

MOST_TOKENS = 2**20
"""As `core.workload` says, which is loaded when a command runs."""
_MOST = 1_000_000  # of what is counted or lasts minutes


def finite(value: float | None) -> float | None:
    """Refuse what compares with no limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a finite number")
    return value


Format = Literal["table", "md", "csv", "jsonl"]

SpaceArgument = Annotated[
    str, typer.Argument(help="A search space by name, or the path of a YAML file.")
]
StudyArgument = Annotated[str, typer.Argument(help="Name of a study; `studies` lists them.")]
DevicesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="A device profile; repeats: a shape then counts as on the device where it is worst "
        "off, each by its reference shape.",
    ),
]
SerialsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--serial",
        help="Which phone, as `adb devices` shows it; repeats: phones of one kind share the work.",
    ),
]
StudyOption = Annotated[
    str | None, typer.Option("--study", help="Name of the study (default SPACE.DEVICE).")
]
TrialsOption = Annotated[
    int,
    typer.Option(
        "--trials", min=1, max=_MOST, help="Distinct shapes that the study shall have in total."
    ),
]
ScenarioOption = Annotated[
    str, typer.Option("--scenario", help="NAME=P:G, a prompt of P tokens and G generated ones.")
]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        help="latency, prefill, decode, parameters or memory; repeats. "
        "Default: latency, and parameters where sizes differ.",
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0.1,
        max=_MOST,
        callback=finite,
        help="Time for measuring and training together; rounds go where the front is open. "
        "Told again, a study goes on for as long.",
    ),
]
SamplerOption = Annotated[str, typer.Option("--sampler", help="model, tpe, nsga2, random or grid.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of sampler and training.")
]
VocabOption = Annotated[
    int | None,
    typer.Option("--vocab-size", min=1, max=10**9, help="Overrides the space's vocabulary."),
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="Overrides the profile's precision scheme.")
]
RemeasureOption = Annotated[
    bool, typer.Option("--remeasure", help="Measure what is in the database, too.")
]
ResultsOption = Annotated[
    Path, typer.Option("--results", help="Folder of the database and of a study's files.")
]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="SQLAlchemy URL instead of RESULTS/phonelm.db.")
]
ScoreTopOption = Annotated[
    int,
    typer.Option(
        "--score-top",
        min=1,
        max=_MOST,
        help="Shapes of the front and near-front whose differences the trainings shall tell.",
    ),
]
TokensOption = Annotated[
    float,
    typer.Option(
        "--tokens-per-parameter",
        min=0.001,
        max=_MOST,
        callback=finite,
        help="Least horizon of a training, in tokens for each decoder parameter that is trained; "
        "some are trained twice and four times as long.",
    ),
]
BudgetOption = Annotated[
    str,
    typer.Option(
        "--proxy-parameters",
        help="Decoder parameters of the largest relatives (1M), or full: the shapes themselves.",
    ),
]
TrainingMinutesOption = Annotated[
    float,
    typer.Option(
        "--minutes",
        min=0.01,
        max=_MOST,
        callback=finite,
        help="Time for trainings. Told again, a study goes on for as long.",
    ),
]
TrainTokensOption = Annotated[
    str | None,
    typer.Option(
        "--train-tokens",
        help="Tokens that you will train the pick on (300B): losses are told for them. Default: "
        "100 for each decoder parameter of the median shape.",
    ),
]
StudyLawOption = Annotated[
    str | None,
    typer.Option(
        "--law",
        help="File of a law that `phonelm-search law fit` wrote; the study keeps it. 'shipped': "
        "the package's own again.",
    ),
]
MaxTtftOption = Annotated[
    list[str] | None,
    typer.Option(
        "--max-ttft",
        help="Budget: the pick keeps this time to the first token (400ms) with 90 % probability. "
        "Of one device: DEVICE=400ms; repeats. Left out, a budget stays as the study has it; none "
        "clears it, here and below.",
    ),
]
MaxTpotOption = Annotated[
    list[str] | None,
    typer.Option("--max-tpot", help="Budget: time per output token (15ms, DEVICE=15ms); repeats."),
]
MaxLatencyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--max-latency",
        help="Budget: time of the whole scenario (900ms, chat=256:128:900ms, DEVICE=900ms); "
        "repeats.",
    ),
]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        help="Budget: weights, and the KV cache at the scenario's end (300MB). A measured peak "
        "beyond it makes the pick provisional.",
    ),
]
MaxLossOption = Annotated[
    str | None,
    typer.Option(
        "--max-loss", help="Budget: loss against that of the space's first reference (+1%)."
    ),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Text to train on: a file, a folder, or hf:NAME[:CONFIG]; repeats. Default: the "
        "embedded text.",
    ),
]
EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine", help="Where rounds and trainings run: this machine, or a Ray cluster."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="HOST:PORT of Ray's head, which `ray-node` starts; this machine must be a node, too. "
        "Default: a Ray of this machine alone that ends with the command.",
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        help="A folder that all nodes reach (a path, or s3://…), which text and checkpoints go by. "
        "Default: they go by Ray.",
    ),
]
PickOption = Annotated[str, typer.Option("--pick", help="knee, fastest or best.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the table is written.")]

DEFAULT_BUDGET_TEXT = f"{DEFAULT_BUDGET // 10**6}M"
