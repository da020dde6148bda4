"""README.md, CONTRIBUTING.md and docs/*.md as tests read them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
PYTHON_BLOCKS = {
    "runtime": "from phonelm_search.backends import RUNTIMES",
    "api": "from phonelm_search import api",
    "winner": "from transformers import",
}
"""How each ```python block begins; a test takes it by its name here, and runs it."""

_FENCE = re.compile(r"^```(\w*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    where: str
    """Page and line of its fence."""
    language: str
    """What stands behind the fence; empty where nothing does."""
    text: str
    """What the block holds, with a newline at the end."""


def fenced(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    language, lines, begun = None, [], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, lines, begun = fence[1], [], number
        elif language is not None and fence:
            where = f"{page.relative_to(ROOT)}:{begun}"
            yield Block(where=where, language=language, text="".join(f"{x}\n" for x in lines))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}: the block of line {begun} has no end"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def python_block(name: str) -> str:
    """The one ```python block of all pages that begins as `PYTHON_BLOCKS` says."""
    found = [b for page in PAGES for b in fenced(page) if b.language == "python"]
    (block,) = [b for b in found if b.text.startswith(PYTHON_BLOCKS[name])]
    return block.text
