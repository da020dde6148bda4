"""The HTML file: template, style, script, plotly and the study's document, all in one."""

import json
import re
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from phonelm_search.core.errors import ExportError, unwritable
from phonelm_search.core.units import format_counted
from phonelm_search.outputs.report.document import Document, document
from phonelm_search.reading import StudyView
from phonelm_search.store import Store
from phonelm_search.work import file_under_way


def write_report(store: Store, view: StudyView, path: Path | None = None) -> Path:
    """Write a study as one HTML file that needs no network, by default RESULTS/STUDY/report.html.

    Raises:
        ExportError: If the file cannot be written.
    """
    path = path or store.folder(view.record.name) / "report.html"
    text = render(document(store, view))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An earlier page stays whole until the new one is.
        with file_under_way(path) as part:
            part.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise ExportError(unwritable(path, error)) from error
    return path


def render(content: Document) -> str:
    """The page of a document."""
    environment = Environment(
        loader=PackageLoader("phonelm_search.outputs.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["commands"] = _commands
    environment.filters["counted"] = format_counted
    assets = files("phonelm_search.outputs.report") / "assets"
    return environment.get_template("page.html").render(
        content=content,
        style=(assets / "page.css").read_text(encoding="utf-8"),
        scripts=[(assets / name).read_text(encoding="utf-8") for name in ("charts.js", "page.js")],
        plotly=get_plotlyjs(),
        data=_script_safe(content),
    )


def _commands(text: str) -> Markup:
    """Text with its `commands` set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _script_safe(content: Document) -> str:
    """JSON that cannot end its script element, whatever a study is called."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
