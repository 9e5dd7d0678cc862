"""Values become plans: asked of the workers, each plan once, and without the sites at which a plugin fails."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from compressor.engine.plan import Plan
from compressor.errors import CompressorError, ForeignError, GraphError, NoAnswer, WorkerLost
from compressor.recipe.model import Recipe
from compressor.search.executor import Executor, Question
from compressor.search.observer import Note, Observer
from compressor.search.questions import LookedAt, Resolved, Sketched

ATTEMPTS = 3
"""How often a question is asked again after its worker was lost."""
POLL_SECONDS = 0.2

QuestionKind = type[Resolved] | type[LookedAt] | type[Sketched]


class Planner:
    """Answers what plans come to. What was asked before is not asked again, refusals included."""

    def __init__(
        self,
        recipe: Recipe,
        executor: Executor,
        observer: Observer,
        *,
        failed: Mapping[str, Collection[str]],
        cancelled: Callable[[], bool],
    ) -> None:
        self._recipe, self._executor, self._observer = recipe, executor, observer
        self._cancelled = cancelled
        """Asked while an answer is waited for; once it says so, a lost worker is the user's doing."""
        self._known: dict[tuple[QuestionKind, str], Any] = {}
        self._faulty: defaultdict[str, set[str]] = defaultdict(set)
        """By plugin: sites at which it fails, and which no plan may touch."""
        for plugin, sites in failed.items():
            self._faulty[plugin].update(sites)

    def answer(self, plan: Plan, about: QuestionKind) -> Any:
        """What ``about`` answers for the plan. Raises what answering raised; ``WorkerLost`` where there is none."""
        (found,) = self.answers([plan], about)
        if isinstance(found, CompressorError):
            raise found
        return found

    def answers(self, plans: Sequence[Plan], about: QuestionKind) -> list[Any]:
        """The answer, or the error there is instead, for each plan; as many at a time as can be worked on."""
        found: dict[int, Any] = {}
        waiting = deque((index, 0) for index in range(len(plans)))
        running: dict[Future[Any], tuple[int, int, Plan]] = {}
        while waiting or running:
            while waiting and len(running) < self._executor.slots:
                index, attempt = waiting.popleft()
                plan = plans[index].without(self._faulty)
                key = about, plan.digest
                if key in self._known:
                    found[index] = self._known[key]
                elif self._cancelled():
                    found[index] = WorkerLost("cancelled")
                else:
                    running[self._ask(about(plan))] = index, attempt, plan
            for future in self._ended(running):
                index, attempt, plan = running.pop(future)
                answer = _answer_of(future)
                if isinstance(answer, WorkerLost) and attempt < ATTEMPTS and not self._cancelled():
                    waiting.append((index, attempt + 1))
                elif isinstance(answer, ForeignError | GraphError | NoAnswer) and self._leaves_alone(answer):
                    waiting.append((index, attempt))
                else:
                    found[index] = answer
                    if not isinstance(answer, WorkerLost):
                        self._known[about, plan.digest] = answer
        return [found[index] for index in range(len(plans))]

    def _ask(self, about: Resolved | LookedAt | Sketched) -> Future[Any]:
        seconds = self._recipe.limits.plugin_seconds
        return self._executor.ask(Question(about, seconds, self._recipe.search.threads))

    def _ended(self, running: Mapping[Future[Any], object]) -> list[Future[Any]]:
        """Those of ``running`` that have come to an end, in the order they were asked; at least one."""
        done: set[Future[Any]] = set()
        while running and not done:
            done = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done
            self._cancelled()
        return [future for future in running if future in done]

    def _leaves_alone(self, error: CompressorError) -> bool:
        """Whether the error names a site that no plan will touch from now on."""
        plugin, site = error.culprit
        if not site or site in self._faulty[plugin]:
            return False
        self._faulty[plugin].add(site)
        self._observer.notify(Note(f"{error}; the site is left alone"))
        return True


def _answer_of(future: Future[Any]) -> Any:
    try:
        return future.result()
    except CompressorError as error:
        return error
