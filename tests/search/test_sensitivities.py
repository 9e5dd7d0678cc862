"""Sensitivities asked of workers: each once, kept as it comes; what fails or hangs is named and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from search_support import SPACE, Scripted

from compressor.data.spec import DataSpec
from compressor.engine.plan import Edit
from compressor.engine.sensitivity import SiteSensitivity
from compressor.engine.site_measurement import Reference
from compressor.errors import CompressorError, ForeignError, NoAnswer, WorkerLost
from compressor.recipe.model import Recipe
from compressor.search.executor import Question
from compressor.search.observer import Event, Note, Stage
from compressor.search.questions import SavedTogether, Sensitivity, Unchanged, WorthMeasuring
from compressor.search.run_folder import RunFolder
from compressor.search.sensitivities import sensitivities_of

SITES = ("one", "two", "three", "four")
BITS = (8, 4)
Told = list[Event]


class Asked(Scripted):
    """Answers like a worker; ``answer`` says what is measured of a site."""

    def __init__(self, answer: Callable[[Edit], SiteSensitivity | None], slots: int = 2) -> None:
        super().__init__(slots=slots)
        self.measure, self.edits = answer, list[Edit]()

    def ask(self, question: Question) -> Future[Any]:
        future: Future[Any] = Future()
        match question.about:
            case Unchanged():
                future.set_result(Reference(1.0, 0.5, 100.0, 100))
            case WorthMeasuring(name, options):
                future.set_result([Edit(name, site, {"bits": bits}, options) for bits in BITS for site in SITES])
            case SavedTogether():
                future.set_result({"one": 0.5})
            case Sensitivity(edit, _, saved):
                assert saved == (0.5 if edit.site == "one" else None)
                assert question.seconds == 60 + 20 * 0.5
                self.edits.append(edit)
                try:
                    future.set_result(self.measure(edit))
                except (CompressorError, KeyboardInterrupt) as error:
                    future.set_exception(error)
        return future


class Ear:
    def __init__(self) -> None:
        self.heard: Told = []

    def notify(self, event: Event) -> None:
        self.heard.append(event)

    def notes(self) -> list[str]:
        return [event.text for event in self.heard if isinstance(event, Note)]


def worth(edit: Edit) -> SiteSensitivity:
    return SiteSensitivity(0.25 * SITES.index(edit.site) + 1 / int(edit.choice["bits"]), 0.5, 0.0, choice=edit.choice)


def measured(folder: Path, executor: Asked, ear: Ear | None = None) -> Any:
    return sensitivities_of(RunFolder(folder), Recipe(DataSpec(name="digits")), SPACE, executor, ear or Ear())


def test_every_site_is_measured_once_with_progress_and_read_back(tmp_path: Path) -> None:
    executor, ear = Asked(worth), Ear()
    found = measured(tmp_path, executor, ear)
    expected = {site: [worth(Edit("a", site, {"bits": bits})) for bits in BITS] for site in SITES}
    assert found.of("a", {}) == found.of("b", {})
    known = found.of("a", {}).items()
    assert {site: [replace(part, others=()) for part in entry.every] for site, entry in known} == expected
    shares = [event.share for event in ear.heard if isinstance(event, Stage)]
    assert shares == sorted(shares)
    assert len(shares) == 1 + 2 * len(SITES) * len(BITS)
    assert measured(tmp_path, Asked(worth)) == found
    assert not RunFolder(tmp_path).measured_sites.exists()


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path) -> None:
    def interrupted(edit: Edit) -> SiteSensitivity:
        if (edit.plugin, edit.site, edit.choice["bits"]) == ("b", "two", 4):
            raise KeyboardInterrupt
        return worth(edit)

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, Asked(interrupted, slots=1))
    with RunFolder(tmp_path).measured_sites.open("ab") as file:
        file.write(b'{"plugin": "b", "si')  # the driver was killed while it wrote
    executor = Asked(worth)
    found = measured(tmp_path, executor)
    assert [(edit.plugin, edit.site, edit.choice["bits"]) for edit in executor.edits] == [
        ("b", site, 4) for site in SITES[1:]
    ]
    assert list(found.of("b", {})) == list(SITES)


def test_a_site_that_fails_is_named_and_left_alone(tmp_path: Path) -> None:
    def broken(edit: Edit) -> SiteSensitivity | None:
        if edit.site == "two":
            raise ForeignError(f"plugin {edit.plugin!r}, site two: ValueError: odd (a.py, line 3)")
        return worth(edit)

    ear = Ear()
    found = measured(tmp_path, Asked(broken), ear)
    assert list(found.of("a", {})) == ["one", "three", "four"]
    assert found.failed["a"] == {"two": "plugin 'a', site two: ValueError: odd (a.py, line 3)"}
    assert "plugin 'b', site two: ValueError: odd (a.py, line 3); the site is left alone" in ear.notes()


def test_a_plugin_that_keeps_hanging_is_not_waited_for_at_every_site(tmp_path: Path) -> None:
    def hangs(edit: Edit) -> SiteSensitivity:
        if edit.plugin == "a":
            raise NoAnswer(f"plugin 'a', site {edit.site}: took longer than 70 s")
        return worth(edit)

    ear, executor = Ear(), Asked(hangs, slots=1)
    found = measured(tmp_path, executor, ear)
    assert [edit.site for edit in executor.edits if edit.plugin == "a"] == ["one", "two"]
    assert list(found.of("b", {})) == list(SITES)
    assert ear.notes()[-1] == "a: its other sites are not measured, and rank last"


def test_a_site_whose_worker_is_lost_is_asked_about_again(tmp_path: Path) -> None:
    lost = iter([WorkerLost("vanished"), WorkerLost("vanished")])

    def unlucky(edit: Edit) -> SiteSensitivity:
        if (error := next(lost, None)) is not None:
            raise error
        return worth(edit)

    assert list(measured(tmp_path, Asked(unlucky)).of("a", {})) == list(SITES)
