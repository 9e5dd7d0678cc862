"""From a run's facts to the text of ``report.html``.

Three things keep text of others from becoming markup or code: jinja2 escapes every value, every value is first rid of
control characters, and the page's own policy allows one script and one style, both by their digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from compressor import __version__
from compressor.report import text
from compressor.report.gather import Facts
from compressor.report.page import course, front
from compressor.report.page.parts import PageSection, parts
from compressor.report.verdict import headline, sentences

_HERE = Path(__file__).parent
_ENDINGS = {
    "complete": "complete",
    "screened": "screened out before training",
    "stopped": "stopped by a gate",
    "failed": "failed",
    "duplicate": "the same as an earlier one",
    "refused": "without any change",
}


def page(facts: Facts) -> str:
    """The whole report."""
    result = facts.result
    return document(
        title=title_of(facts),
        subtitle=_subtitle(facts),
        parts=parts(facts),
        verdict={
            "helped": result.verdict.helped,
            "headline": headline(result),
            "sentences": sentences(result),
        },
    )


def document(*, title: str, subtitle: str, parts: Sequence[PageSection], verdict: dict[str, Any] | None = None) -> str:
    """A page of these parts, complete in itself."""
    style, script = (_own(f"report.{suffix}") for suffix in ("css", "js"))
    allowed = f"style-src {_digest(style)}; script-src {_digest(script)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return _ENVIRONMENT.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        parts=parts,
        verdict=verdict,
        policy=policy,
        style=style,
        script=script,
        frame=front.FRAME,
        timeline=course.FRAME,
    )


def title_of(facts: Facts) -> str:
    """What was compressed, or else the name of the run."""
    return str(facts.environment.get("model") or facts.folder.name)


def _subtitle(facts: Facts) -> str:
    environment, pilot = facts.environment, facts.result.pilot
    counts = asdict(facts.result.trials)
    ended = ", ".join(f"{number} {_ENDINGS[name]}" for name, number in counts.items() if number)
    return (
        f"compressor {environment.get('compressor', __version__)}, begun {environment.get('started', '')}, "
        f"{text.duration(facts.result.seconds)} of work. Trials: {ended or 'none'}."
        f"{'' if pilot is None else f' Data: {pilot.data}.'}"
    )


def _own(name: str) -> Markup:
    """A file of the toolkit itself, whose text is taken as it is."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _cleaned(value: Any) -> Any:
    """Names come from files that others wrote: nothing in them is to steer a browser or a terminal."""
    return text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _verbatim(content: str) -> Markup:
    """Several lines, each cleaned but for its indentation."""
    lines = (f"{line[: len(line) - len(line.lstrip(' '))]}{text.clean(line)}" for line in content.split("\n"))
    return escape("\n".join(lines))


def _figure(cell: str) -> float | str:
    """What a cell is sorted by; empty for one that is sorted as text."""
    found = text.value(cell)
    return "" if found is None else f"{found:.12g}"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("compressor.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_cleaned,
    )
    made.filters.update(verbatim=_verbatim, figure=_figure)
    return made


_ENVIRONMENT = _environment()
