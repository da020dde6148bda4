"""The README and the pages of docs/: short, without dead links, and their commands are true."""

import csv
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import transformers
import typer

from documents import DOCS, PAGES, PYTHON_BLOCKS, README, ROOT, fenced, prose, python_block
from phonelm_search.cli.main import app, run_command
from phonelm_search.devices import DeviceProfile

ACTIONS = (
    "run", "search", "score", "profile", "pareto", "plot", "report", "explain", "export",
)  # fmt: skip
INSTALL = re.compile(r"```bash\n(pip install .*?)```", re.DOTALL)
LINE = re.compile(r"^(?:\$ |pip install .* && )?(phonelm-search .+)$", re.MULTILINE)
INLINE = re.compile(r"`(phonelm-search [^`]+)`")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
IDS = [str(p.relative_to(ROOT)) for p in PAGES]


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 1000


def test_the_readme_begins_with_the_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    match = INSTALL.search(text)
    assert match
    lines = match[1].strip().splitlines()
    assert lines == [
        "pip install -c constraints.txt . && phonelm-search run",
        "pip install -c constraints.txt -e '.[test]' && pytest",
    ]
    assert text[: match.start()].count("\n") < 30


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> list[str]:
    """What GitHub makes of a page's headings."""
    found: list[str] = []
    for heading in HEADING.findall(prose(page)):
        plain = re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(plain)}(-\d+)?", a) is not None for a in found)
        found.append(f"{plain}-{again}" if again else plain)
    return found


def test_the_index_lists_every_page() -> None:
    listed = set(LINK.findall(prose(DOCS / "README.md")))
    assert listed == {p.name for p in DOCS.glob("*.md")} - {"README.md"}


def test_the_house_names_every_room() -> None:
    house = (DOCS / "house.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "phonelm_search"
    rooms = {p.parent.name for p in source.glob("*/__init__.py")}
    named = re.findall(r"^\| `(\w+)/`", house.split("The runtimes in")[0], re.MULTILINE)
    assert rooms == set(named)
    assert all(f"`{p.parent.name}/`" in house for p in source.glob("*/*/__init__.py"))


def commands(page: Path) -> Iterator[str]:
    """Every command line of ours on a page, in blocks and in prose."""
    for block in fenced(page):
        yield from LINE.findall(block.text)
    yield from (" ".join(c.split()) for c in INLINE.findall(page.read_text(encoding="utf-8")))


def parse(words: Sequence[str]) -> None:
    """Parse a command line as the command would, and run nothing."""
    command, name = typer.main.get_command(app), "phonelm-search"
    while hasattr(command, "commands"):
        assert words, f"{name} wants a command"
        assert words[0] in command.commands, f"{name} has no command {words[0]}"
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    command.make_context(name, list(words), resilient_parsing=False)


LINES = [(str(p.relative_to(ROOT)), line) for p in PAGES for line in dict.fromkeys(commands(p))]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_line_parses(page: str, line: str) -> None:
    parse(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep", "no command sweep"),
        ("devices", "wants a command"),
        ("run --fast", "--fast"),
        ("run --trials many", "valid integer"),
        ("plot STUDY --kind pie", "pie"),
        ("export STUDY", "output"),
        ("score", "study"),
    ],
)
def test_a_wrong_command_line_does_not_parse(line: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        parse(line.split())


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_option_in_prose_exists(page: Path) -> None:
    root = typer.main.get_command(app)
    groups = [c for c in root.commands.values() if hasattr(c, "commands")]
    every = [*root.commands.values(), *(c for g in groups for c in g.commands.values())]
    options = {o for c in every for p in c.params for o in p.opts} | {"--help", "--version"}
    for code in CODE.findall(prose(page)):
        words = code.split()
        if words and (words[0].startswith("--") or words[0] in root.commands):
            assert {w for w in words if w.startswith("--")} <= options, code


def test_every_python_block_is_run_by_a_test() -> None:
    blocks = [b for page in PAGES for b in fenced(page) if b.language == "python"]
    tests = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    for name in PYTHON_BLOCKS:
        assert python_block(name)
        assert f'python_block("{name}")' in tests, name
    assert len(blocks) == len(PYTHON_BLOCKS), [b.where for b in blocks]


@pytest.mark.xdist_group("clock")  # who measures elsewhere would be waited for
@pytest.mark.usefixtures("quick_flow")
def test_the_bash_blocks_run_on_the_tiny_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Rounds of a moment each leave the front open: a race would last until the minutes end.
    monkeypatch.setattr("phonelm_search.stages.race._MOST_ROUNDS_IN_TIME", 1)
    first = DOCS / "try-it.md"
    # The other pages go on with what the tiny commands leave.
    pages = [first, *(p for p in PAGES if p != first)]
    lines = [
        (block.where, line)
        for page in pages
        for block in fenced(page)
        if block.language == "bash"
        for line in block.text.splitlines()
        if line.startswith("phonelm-search ")
    ]
    tiny = [shlex.split(line)[1] for where, line in lines if where.startswith("docs/try-it.md")]
    assert len(tiny) >= 10
    assert set(tiny) >= {*ACTIONS, "studies"}
    for where, line in lines:
        capsys.readouterr()
        arguments = shlex.split(line, comments=True)[1:]
        assert run_command(arguments) == 0, f"{where}: {line}: {capsys.readouterr().err}"
        if "--json" in arguments:
            document = json.loads(capsys.readouterr().out)
            assert document["schema"] == 1

    study = tmp_path / "results" / "tiny.host-cpu"
    for name in ("front.png", "front.svg", "training.png", "training.svg"):
        assert (study / "plots" / name).stat().st_size > 10_000
    config = transformers.AutoConfig.from_pretrained(tmp_path / "winner")
    model = transformers.AutoModelForCausalLM.from_config(config)
    with (study / "trials.csv").open(newline="") as file:
        (picked,) = [row for row in csv.DictReader(file) if row["pick"] == "True"]
    assert sum(p.numel() for p in model.parameters()) == int(picked["parameters"])
    assert {p.name for p in (tmp_path / "winner").iterdir()} >= {"README.md", "model.onnx"}
    assert "phonelm-search run tiny --trials 4" in (study / "report.html").read_text()
    pictures = {p.stem for p in (tmp_path / "pictures").iterdir()}
    drawn = {"front", "training", "spread", "latency-vs-depth", "bandwidth", "processes"}
    assert pictures - {"validation"} == drawn  # whether two of the largest are trained is time's

    import onnxruntime as ort

    session = ort.InferenceSession(
        str(study / "winner" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [i.name for i in session.get_inputs()][:2] == ["input_ids", "attention_mask"]


def test_a_profile_takes_the_runtime_of_the_docs() -> None:
    from phonelm_search.backends import RUNTIMES, get_runtime

    try:
        exec(python_block("runtime"), {})
        runtime = get_runtime(DeviceProfile(name="board", runtime="cooled", threads=1))
        assert runtime.environment()["cooling"] == "fan"
        assert runtime.placement().threads == 1
    finally:
        RUNTIMES.pop("cooled", None)
