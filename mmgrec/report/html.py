"""The report page of a run or a study: ``report.html``, one file that opens offline.

Everything is inside: plotly.js once, the figures as JSON, no address of any network; a content security policy lets
only the page's own scripts run, so that nothing in the data's strings can. Equal facts give equal bytes. Read
`mmgrec.report.facts` for what it is given, `mmgrec.report.sections` for what stands where.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files

from mmgrec.report.facts import PageFacts
from mmgrec.report.sections import page_and_plots

__all__ = ["page_html"]


def page_html(facts: PageFacts) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    page, plots = page_and_plots(facts)
    library, script = get_plotlyjs(), _file("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(_file("page.html.j2")).render(
        page=page,
        css=_file("page.css"),
        figures=_inert_json(plots),
        plotly=library,
        script=script,
        allowed=" ".join(f"'sha256-{_digest(text)}'" for text in (library, script)),
    )


def _file(name: str) -> str:
    return (files("mmgrec.report") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inert_json(value: object) -> str:
    """JSON that cannot end the script tag it stands in, nor open a comment there."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
