"""A real browser without a network."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

Open = Callable[..., Page]


class Reader:
    """One page that opens a file after the other: a browser reads Plotly three times as fast again.

    Whatever a document complains of is kept until it is asked for.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.complaints: list[str] = []
        page.on("console", lambda m: self._complain(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:", "about:"))
                else self._complain(f"asked for {r.url}"))  # fmt: skip

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def open(self, path: Path, *, width: int = 1200, scheme: str = "light") -> Page:
        """A new document; what the one before it stored is gone."""
        self._page.set_viewport_size({"width": width, "height": 900})
        self._page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        self._page.goto(path.as_uri())
        if self._page.evaluate("localStorage.length + sessionStorage.length"):
            self._page.evaluate("localStorage.clear(); sessionStorage.clear()")
            self._page.reload()
        return self._page


@pytest.fixture(scope="session")
def reader() -> Iterator[Reader]:
    """In Debian's Chromium."""
    found = shutil.which("chromium")
    assert found, "the Debian package chromium must be installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(
            offline=True, permissions=["clipboard-read", "clipboard-write"]
        )
        yield Reader(context.new_page())
        browser.close()


@pytest.fixture
def opened(reader: Reader) -> Iterator[Open]:
    """Opens a file; every complaint of the page fails the test at its end."""
    reader.complaints.clear()
    yield reader.open
    assert reader.complaints == []
