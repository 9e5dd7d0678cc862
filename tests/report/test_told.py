"""Any plugin may say something about a run it was used in; one that fails, hangs or talks nonsense spoils nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compressor.data.spec import DataSpec
from compressor.engine.space import PhaseSpec, PluginUse
from compressor.recipe.model import Recipe
from compressor.report.gather import Facts
from compressor.report.page.parts import parts
from compressor.report.told import told

STRANGER = """
import time
from dataclasses import dataclass
from compressor.plugin import Plugin
from compressor.report.section import Section
from compressor.report.table import table

class Name(str):
    pass

@dataclass(frozen=True)
class Stranger(Plugin):
    mood: str = "good"

    def sites(self, network):
        return ()

    def rewrite(self, editor, site, choice):
        pass

    def tell(self, run):
        if self.mood == "bad":
            raise KeyError("nothing")
        if self.mood == "slow":
            time.sleep(60)
        if self.mood == "odd":
            return ["text"]
        rows = [(Name(trial.name), trial.outcome.status) for trial in run.trials]
        return [Section("A stranger's view", (Name("Seen from outside <b>."),), table("trial, end", rows))]

@dataclass(frozen=True)
class Silent(Stranger):
    tell = Plugin.tell
"""


def using(*plugins: PluginUse) -> Recipe:
    return Recipe(DataSpec(name="digits"), phases=(PhaseSpec("main", plugins),))


def in_moods(*moods: str) -> Recipe:
    return using(*(PluginUse("stranger", {"mood": mood}) for mood in moods))


def test_a_strangers_sections_are_in_the_report(sample: Facts, install: Callable[..., None]) -> None:
    install("strange", {"stranger": "strange:Stranger", "silent": "strange:Silent"}, STRANGER, "strange")
    (said,) = told(sample, in_moods("good", "good"))
    assert said.title == "A stranger's view"
    assert type(said.lines[0]) is str
    assert said.content is not None
    assert said.content.rows[0] == ("0", "complete")
    assert told(sample, using(PluginUse("silent"))) == ()
    (shown, *_) = parts(replace(sample, told=(said,)))
    assert shown.title == "By the plugins"
    assert [block.kind for block in shown.blocks] == ["heading", "text", "table"]


def test_what_goes_wrong_is_said_in_its_place(sample: Facts, install: Callable[..., None]) -> None:
    install("strange", {"stranger": "strange:Stranger"}, STRANGER, "strange")
    bad, slow, odd, good = told(sample, in_moods("bad", "slow", "odd", "good"), seconds=1.0)
    assert "KeyError" in bad.lines[0]
    assert "nothing to say" in slow.lines[0]
    assert "gives a str, not a Section" in odd.lines[0]
    assert good.title == "A stranger's view"
