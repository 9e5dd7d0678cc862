"""Sensitivities measured by the workers, edit by edit: in parallel, with progress, and not again after an interruption.

A site with knobs is measured at several of their values, all sites at their first before any at others.

Every answer is kept as it comes (``sensitivities.part.jsonl``); the file of all of them is written when they are
complete. A site whose rewriting fails is named and left alone from then on; a plugin that keeps hanging is not asked
about its other sites.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from compressor.engine.apply import PASSES
from compressor.engine.plan import Edit
from compressor.engine.policy import POLICIES
from compressor.engine.sensitivity import SENSITIVITIES, Sensitivities, SiteSensitivity, key_of
from compressor.engine.site_measurement import Reference, SiteFindings, settled
from compressor.engine.space import SearchSpace, uses_of
from compressor.errors import CompressorError, NoAnswer, TrialError, WorkerLost
from compressor.knobs import Value
from compressor.recipe.model import Recipe
from compressor.search.executor import Executor, Question
from compressor.search.kept import kept
from compressor.search.observer import Note, Observer, Stage
from compressor.search.questions import About, SavedTogether, Sensitivity, Unchanged, Use, WorthMeasuring
from compressor.search.run_folder import RunFolder
from compressor.stored import whole_lines

ATTEMPTS = 3
"""How often a site is asked about again after its worker was lost."""
MOST_HANGS = 2
"""Sites without an answer, after which a plugin's other sites are not measured."""


def sensitivities_of(
    run: RunFolder,
    recipe: Recipe,
    space: SearchSpace,
    executor: Executor,
    observer: Observer,
    goes_on: Callable[[], bool] = lambda: True,
) -> Sensitivities:
    """What the sites of the plugins are worth whose policy asks for it; read back where it is known.

    Once ``goes_on`` says no, no more sites are measured; the others rank last.
    """
    known = kept(lambda: SENSITIVITIES.find(run.sensitivities), observer, instead="they are measured again")
    if known is not None:
        return known
    observer.notify(Stage("sensitivity"))
    uses = tuple(
        Use(use.name, use.options, use.only, use.skip, use.values)
        for _, use in uses_of(space.phases)
        if POLICIES[use.policy].measured
    )
    measured = _Measuring(run, recipe, executor, observer, goes_on).all(uses) if uses else Sensitivities()
    SENSITIVITIES.write(run.sensitivities, measured)
    run.measured_sites.unlink(missing_ok=True)
    return measured


@dataclass(frozen=True)
class _Measured:
    """One line of what is kept: an edit, and what was measured of it; None where it was refused or failed."""

    plugin: str
    options: dict[str, Any]
    site: str
    choice: dict[str, Value] = field(default_factory=dict)
    entry: SiteSensitivity | None = None
    failure: str = ""


_MEASURED: TypeAdapter[_Measured] = TypeAdapter(_Measured)


@dataclass
class _Measuring:
    run: RunFolder
    recipe: Recipe
    executor: Executor
    observer: Observer
    goes_on: Callable[[], bool]
    hangs: Counter[str] = field(default_factory=Counter)

    def all(self, uses: tuple[Use, ...]) -> Sensitivities:
        plugins = [use.plugin for use in uses]
        different = [plugin for index, plugin in enumerate(plugins) if plugin not in plugins[:index]]
        unchanged: Reference = self._ask(Unchanged(uses), 0.0).result()
        seconds = self.recipe.limits.plugin_seconds + PASSES * unchanged.seconds
        worth = [self._worth_measuring(*plugin, uses, seconds) for plugin in different]
        todo = [edit for edits in worth for edit in edits]
        answers = {_place(answer): answer for answer in whole_lines(self.run.measured_sites, _MEASURED)}
        left = [edit for edit in todo if _place(edit) not in answers]
        questions = [
            Sensitivity(edit, unchanged, saved.get(edit.site))
            for edits in worth
            if (some := [edit for edit in edits if edit in left])
            for saved in [self._saved_together(edits, seconds)]
            for edit in some
        ]
        for answer in self._answers(questions, seconds, len(todo)):
            _keep(self.run.measured_sites, answer)
            answers[_place(answer)] = answer
        found: SiteFindings = {key_of(*plugin): {} for plugin in different}
        failed: dict[str, dict[str, str]] = {}
        for edit in todo:
            known = answers.get(_place(edit))
            if known is not None and known.entry is not None:
                found[key_of(edit.plugin, edit.options)].setdefault(edit.site, []).append(known.entry)
            elif known is not None and known.failure:
                failed.setdefault(edit.plugin, {})[edit.site] = known.failure
        return settled(found, failed)

    def _worth_measuring(self, name: str, options: Any, uses: tuple[Use, ...], seconds: float) -> list[Edit]:
        same = tuple(use for use in uses if use.plugin == (name, options))
        try:
            edits: list[Edit] = self._ask(WorthMeasuring(name, options, same), seconds).result()
        except (WorkerLost, TrialError):
            raise
        except CompressorError as error:
            self.observer.notify(Note(f"its sites are not measured: {error}"))
            return []
        return edits

    def _saved_together(self, edits: list[Edit], seconds: float) -> Mapping[str, float]:
        """By site; nothing of those whose time is measured alone."""
        firsts = {edit.site: edit for edit in reversed(edits)}
        asked = SavedTogether(tuple(reversed(firsts.values())))
        try:
            return self._ask(asked, len(firsts) * seconds).result() or {}
        except (WorkerLost, TrialError):
            raise
        except CompressorError as error:
            self.observer.notify(Note(f"its sites are timed alone: {error}"))
            return {}

    def _answers(self, todo: list[Sensitivity], seconds: float, every: int) -> Iterator[_Measured]:
        """What comes back, as it comes; no more is handed out than can run. ``every``: with what is known already."""
        waiting = [(question, 0) for question in reversed(todo)]
        running: dict[Future[Any], tuple[Sensitivity, int]] = {}
        done = every - len(todo)
        while waiting or running:
            if waiting and not self.goes_on():
                self.observer.notify(Note(f"{len(waiting)} measurements are left out, for the budget"))
                waiting.clear()
                continue
            while waiting and len(running) < self.executor.slots:
                question, attempt = waiting.pop()
                edit = question.edit
                if self.hangs[edit.plugin] >= MOST_HANGS:
                    done += 1
                    continue
                self.observer.notify(Stage("sensitivity", f"{edit.plugin} {edit.site}", done / every))
                running[self._ask(question, seconds)] = question, attempt
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                question, attempt = running.pop(future)
                try:
                    yield self._measured(question.edit, future)
                    done += 1
                except WorkerLost:
                    if attempt >= ATTEMPTS:
                        raise
                    waiting.append((question, attempt + 1))

    def _measured(self, edit: Edit, future: Future[Any]) -> _Measured:
        failure, entry = "", None
        try:
            entry = future.result()
        except (WorkerLost, TrialError):
            raise
        except CompressorError as error:
            failure = str(error)
            self.observer.notify(Note(f"{failure}; the site is left alone"))
            if isinstance(error, NoAnswer):
                self._hung(edit.plugin)
        return _Measured(edit.plugin, dict(edit.options), edit.site, dict(edit.choice), entry, failure)

    def _hung(self, plugin: str) -> None:
        self.hangs[plugin] += 1
        if self.hangs[plugin] == MOST_HANGS:
            self.observer.notify(Note(f"{plugin}: its other sites are not measured, and rank last"))

    def _ask(self, about: About, seconds: float) -> Future[Any]:
        return self.executor.ask(Question(about, seconds, self.recipe.search.threads))


def _place(answer: _Measured | Edit) -> tuple[str, str, str]:
    return key_of(answer.plugin, answer.options), answer.site, json.dumps(dict(answer.choice), sort_keys=True)


def _keep(file: Path, answer: _Measured) -> None:
    line = json.dumps(_MEASURED.dump_python(answer, mode="python"), default=str)
    with file.open("ab") as out:
        out.write(b"\n" + line.encode() + b"\n")  # behind a line that was cut short, a new one begins
