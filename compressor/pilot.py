"""The contract of a pilot study: small trainings before the search, which tell whether it is worth beginning.

    @dataclass(frozen=True)
    class Learnable(Pilot):
        '''Does the architecture learn anything from these data?'''

        epochs: int = 2

        def arms(self):
            return ["new-weights"]

        def run(self, arm, network, data, training, *, seed, progress):
            fork = network.fork()
            reinitialise(fork, seed)
            fit(fork, data, replace(training, epochs=self.epochs), seed=seed)
            quality = evaluate(fork, data, data.validation).quality
            return ArmResult({"quality": quality}, f"quality {quality:.2f}")

        def judge(self, results, data):
            learned = results["new-weights"].figures["quality"] > 0.5
            return Judgement(learned, "it learns" if learned else "it does not learn: look at the labels")

A package registers it under the entry-point group ``compressor.pilots``. A recipe asks for one with ``[pilot]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compressor.stored import Figure

if TYPE_CHECKING:
    from compressor.data.dataset import Data
    from compressor.graph.network import Network
    from compressor.report.gather import Facts
    from compressor.report.section import Section
    from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class ArmResult:
    """What one arm found out. ``figures`` are plain data, as JSON has them; ``about`` says the same in a few words."""

    figures: Mapping[str, Any]
    about: str = ""
    seconds: Figure = 0.0
    """Of training."""


@dataclass(frozen=True)
class Judgement:
    """What all arms together say."""

    applies: bool
    """Whether the search is worth beginning; False ends the run."""
    reason: str
    """Why, in a sentence."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """The figures behind it, plain data; ``result.json`` and ``tell`` get them."""


@dataclass(frozen=True)
class Pilot(ABC):
    """One kind of pilot study. Its fields are its options in a recipe; its docstring's first line is its summary.

    An arm is one training. Arms are independent: each is run by a worker in a process of its own, several side by side,
    and none twice where a run is resumed. The test split is closed to all of them.
    """

    @abstractmethod
    def arms(self) -> Sequence[str]:
        """The names of the arms, each once, in the order in which they are run. A name is also that of a folder."""

    @abstractmethod
    def run(
        self,
        arm: str,
        network: Network,
        data: Data,
        training: TrainingSpec,
        *,
        seed: int,
        progress: Callable[[str, float], None],
    ) -> ArmResult:
        """Carry out one arm on a fork of ``network``. ``training`` is that of the recipe; ``progress`` is told the
        stage and how far the arm is (0…1). What it raises ends this arm alone.
        """

    @abstractmethod
    def judge(self, results: Mapping[str, ArmResult], data: Data) -> Judgement:
        """What the arms that came to an end say together. Raises ``TrialError`` where too few did."""

    def tell(self, run: Facts) -> Iterable[Section]:
        """What the study has to say about a finished run, as ``Plugin.tell``. ``run.result.pilot`` holds what it
        found.
        """
        return ()

    def describe(self, data: Data) -> str:
        """What the arms are trained on, in words, for people."""
        return f"{data.name}, itself a stand-in" if data.stand_in else data.name

    def samples(self, count: int) -> int:
        """Training samples that one arm goes through, of ``count`` there are, so that its time can be foretold."""
        return count

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]
