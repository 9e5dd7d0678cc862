"""Sensitivities measured by the workers, site by site: in parallel, with progress, and not again after an interruption.

Every answer is kept as it comes (``sensitivities.part.jsonl``); the file of all of them is written when they are
complete. A site whose rewriting fails is named and left alone from then on; a plugin that keeps hanging is not asked
about its other sites.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from compressor.engine.apply import PASSES
from compressor.engine.plan import Edit
from compressor.engine.policy import POLICIES
from compressor.engine.sensitivity import SENSITIVITIES, Sensitivities, SiteSensitivity, key_of
from compressor.engine.site_measurement import Reference, settled
from compressor.engine.space import SearchSpace, uses_of
from compressor.errors import CompressorError, NoAnswer, TrialError, WorkerLost
from compressor.recipe.model import Recipe
from compressor.search.executor import Executor, Question
from compressor.search.kept import kept
from compressor.search.observer import Note, Observer, Stage
from compressor.search.questions import About, Sensitivity, Unchanged, Use, WorthMeasuring
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
        (use.name, use.options, use.only, use.skip) for _, use in uses_of(space.phases) if POLICIES[use.policy].measured
    )
    measured = _Measuring(run, recipe, executor, observer, goes_on).all(uses) if uses else Sensitivities()
    SENSITIVITIES.write(run.sensitivities, measured)
    run.measured_sites.unlink(missing_ok=True)
    return measured


@dataclass(frozen=True)
class _Measured:
    """One line of what is kept: a site, and what was measured of it; None where the edit was refused or failed."""

    plugin: str
    options: dict[str, Any]
    site: str
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
        different = [use for index, use in enumerate(uses) if use[:2] not in [other[:2] for other in uses[:index]]]
        unchanged: Reference = self._ask(Unchanged(uses), 0.0).result()
        seconds = self.recipe.limits.plugin_seconds + PASSES * unchanged.seconds
        todo = [
            Edit(name, path, options=options)
            for name, options, _, _ in different
            for path in self._worth_measuring(name, options, uses, seconds)
        ]
        answers = {_place(answer): answer for answer in whole_lines(self.run.measured_sites, _MEASURED)}
        for answer in self._answers([edit for edit in todo if _place(edit) not in answers], unchanged, seconds, todo):
            _keep(self.run.measured_sites, answer)
            answers[_place(answer)] = answer
        found: dict[str, dict[str, SiteSensitivity]] = {key_of(name, options): {} for name, options, _, _ in different}
        failed: dict[str, dict[str, str]] = {}
        for edit in todo:
            known = answers.get(_place(edit))
            if known is not None and known.entry is not None:
                found[key_of(edit.plugin, edit.options)][edit.site] = known.entry
            elif known is not None and known.failure:
                failed.setdefault(edit.plugin, {})[edit.site] = known.failure
        return settled(found, failed)

    def _worth_measuring(self, name: str, options: Any, uses: tuple[Use, ...], seconds: float) -> list[str]:
        same = tuple(use for use in uses if use[:2] == (name, options))
        try:
            paths: list[str] = self._ask(WorthMeasuring(name, options, same), seconds).result()
        except (WorkerLost, TrialError):
            raise
        except CompressorError as error:
            self.observer.notify(Note(f"its sites are not measured: {error}"))
            return []
        return paths

    def _answers(
        self, todo: list[Edit], unchanged: Reference, seconds: float, every: list[Edit]
    ) -> Iterator[_Measured]:
        """What comes back, as it comes; no more is handed out than can run."""
        waiting = [(edit, 0) for edit in reversed(todo)]
        running: dict[Future[Any], tuple[Edit, int]] = {}
        done = len(every) - len(todo)
        while waiting or running:
            if waiting and not self.goes_on():
                self.observer.notify(Note(f"{len(waiting)} sites are not measured, and rank last: the budget"))
                waiting.clear()
                continue
            while waiting and len(running) < self.executor.slots:
                edit, attempt = waiting.pop()
                if self.hangs[edit.plugin] >= MOST_HANGS:
                    done += 1
                    continue
                self.observer.notify(Stage("sensitivity", f"{edit.plugin} {edit.site}", done / len(every)))
                running[self._ask(Sensitivity(edit, unchanged), seconds)] = edit, attempt
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                edit, attempt = running.pop(future)
                try:
                    yield self._measured(edit, future)
                    done += 1
                except WorkerLost:
                    if attempt >= ATTEMPTS:
                        raise
                    waiting.append((edit, attempt + 1))

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
        return _Measured(edit.plugin, dict(edit.options), edit.site, entry, failure)

    def _hung(self, plugin: str) -> None:
        self.hangs[plugin] += 1
        if self.hangs[plugin] == MOST_HANGS:
            self.observer.notify(Note(f"{plugin}: its other sites are not measured, and rank last"))

    def _ask(self, about: About, seconds: float) -> Future[Any]:
        return self.executor.ask(Question(about, seconds, self.recipe.search.threads))


def _place(answer: _Measured | Edit) -> tuple[str, str]:
    return key_of(answer.plugin, answer.options), answer.site


def _keep(file: Path, answer: _Measured) -> None:
    line = json.dumps(_MEASURED.dump_python(answer, mode="python"), default=str)
    with file.open("ab") as out:
        out.write(b"\n" + line.encode() + b"\n")  # behind a line that was cut short, a new one begins
