"""The checks by name, run as one function or as one test each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from compressor.apart import each_apart
from compressor.errors import CompressorError, NoAnswer
from compressor.graph.network import Network
from compressor.plugin import Plugin, sites_of
from compressor.registry import make
from compressor.testing.case import Case, kit_seeded, one_thread
from compressor.testing.findings import Finding, Trouble, each_once, trouble
from compressor.testing.leaf_checks import channels_can_be_lost, folding_is_exact, shapes_are_true
from compressor.testing.networks import random_evidence, small_networks
from compressor.testing.rewrite_checks import (
    costs_are_true,
    forks_are_isolated,
    gradients_flow,
    networks_run,
    onnx_agrees,
    promises_are_kept,
    rewrites_are_deterministic,
    rewrites_change_something,
    trained_weights_survive,
)
from compressor.testing.site_checks import (
    Messages,
    knobs_are_useful,
    refusals_come_before_edits,
    shortlists_are_sites,
    sites_are_deterministic,
    sites_are_well_formed,
    sites_can_be_rewritten,
    sites_leave_the_network_alone,
)

CHECKS: Mapping[str, Callable[[Case], Messages]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        sites_are_deterministic,
        sites_leave_the_network_alone,
        sites_are_well_formed,
        shortlists_are_sites,
        sites_can_be_rewritten,
        knobs_are_useful,
        refusals_come_before_edits,
        rewrites_change_something,
        rewrites_are_deterministic,
        forks_are_isolated,
        networks_run,
        gradients_flow,
        trained_weights_survive,
        promises_are_kept,
        onnx_agrees,
        costs_are_true,
        shapes_are_true,
        channels_can_be_lost,
        folding_is_exact,
    )
}
"""Every check by name, in the order they run."""
_SOME = "there-is-something-to-rewrite"


def check_plugin(
    plugin: Plugin, networks: Mapping[str, Network] | None = None, *, most_sites: int = 6
) -> list[Finding]:
    """Everything the kit finds wrong with ``plugin`` on ``networks`` (its own small ones by default); empty is good.

    At most ``most_sites`` sites of each network are rewritten, spread over it. Never raises for what a plugin does: an
    exception inside one is a finding, and one however many checks it stops.
    """
    cases = _cases(plugin, networks, most_sites)
    findings = [finding for name in CHECKS for case in cases for finding in run_check(name, case)]
    return each_once([*_has_sites(plugin, cases), *findings])


def check_apart(name: str, seconds: float = 120.0) -> list[Finding]:
    """``check_plugin`` of an installed plugin, which may hang or crash: each check runs in a process of its own.

    A check that is not over after ``seconds``, or whose process ends, is a finding and the last one. Raises
    ``PluginError`` for a plugin that cannot be used.
    """
    state: list[list[Case]] = []

    def work(check: str) -> list[Finding]:
        if not state:
            state.append(_cases(make(name), None, 6))
        if not check:
            return _has_sites(state[0][0].plugin, state[0])
        return [finding for case in state[0] for finding in run_check(check, case)]

    findings: list[Finding] = []
    checks = ["", *CHECKS]
    for check, answer in zip(checks, each_apart(checks, work, seconds=seconds), strict=False):
        match answer:
            case NoAnswer():
                lost = Finding(check or _SOME, "", "", f"{answer}; what comes after it was not checked")
                return each_once([*findings, lost])
            case CompressorError():
                raise answer
        findings += answer
    return each_once(findings)


def run_check(name: str, case: Case) -> Iterator[Finding]:
    """One check on one network."""
    module = type(case.plugin).__module__
    try:
        with one_thread(), kit_seeded():
            found = list(CHECKS[name](case))
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises is what there is to report
        found = [("", trouble(error, module))]
    for site, message in found:
        if isinstance(message, Trouble):
            yield Finding(name, case.name, site, message.text, message.cause)
        else:
            yield Finding(name, case.name, site, message)


class PluginContract:
    """Base class of a test class for one plugin: set ``plugin``, and ``networks`` where the kit's own do not do."""

    plugin: ClassVar[Plugin]
    networks: ClassVar[Mapping[str, Network] | None] = None
    most_sites: ClassVar[int] = 6
    """Sites of each network that are rewritten, spread over it."""

    def test_there_is_something_to_rewrite(self) -> None:
        assert not _listed(_has_sites(self.plugin, self._cases()))

    def test_sites_are_deterministic(self) -> None:
        self._hold("sites-are-deterministic")

    def test_sites_leave_the_network_alone(self) -> None:
        self._hold("sites-leave-the-network-alone")

    def test_sites_are_well_formed(self) -> None:
        self._hold("sites-are-well-formed")

    def test_shortlists_are_sites(self) -> None:
        self._hold("shortlists-are-sites")

    def test_sites_can_be_rewritten(self) -> None:
        self._hold("sites-can-be-rewritten")

    def test_knobs_are_useful(self) -> None:
        self._hold("knobs-are-useful")

    def test_refusals_come_before_edits(self) -> None:
        self._hold("refusals-come-before-edits")

    def test_rewrites_change_something(self) -> None:
        self._hold("rewrites-change-something")

    def test_rewrites_are_deterministic(self) -> None:
        self._hold("rewrites-are-deterministic")

    def test_forks_are_isolated(self) -> None:
        self._hold("forks-are-isolated")

    def test_networks_run(self) -> None:
        self._hold("networks-run")

    def test_gradients_flow(self) -> None:
        self._hold("gradients-flow")

    def test_trained_weights_survive(self) -> None:
        self._hold("trained-weights-survive")

    def test_promises_are_kept(self) -> None:
        self._hold("promises-are-kept")

    def test_onnx_agrees(self) -> None:
        self._hold("onnx-agrees")

    def test_costs_are_true(self) -> None:
        self._hold("costs-are-true")

    def test_shapes_are_true(self) -> None:
        self._hold("shapes-are-true")

    def test_channels_can_be_lost(self) -> None:
        self._hold("channels-can-be-lost")

    def test_folding_is_exact(self) -> None:
        self._hold("folding-is-exact")

    def _hold(self, check: str) -> None:
        assert not _listed([finding for case in self._cases() for finding in run_check(check, case)])

    @classmethod
    def _cases(cls) -> list[Case]:
        """The cases of the class, made once: checks share the rewrites."""
        if "_made" not in vars(cls):
            cls._made = _cases(cls.plugin, cls.networks, cls.most_sites)
        return cls._made

    _made: ClassVar[list[Case]]


def _cases(plugin: Plugin, networks: Mapping[str, Network] | None, most_sites: int) -> list[Case]:
    chosen = small_networks() if networks is None else networks
    return [Case(plugin, name, network, random_evidence(network), most_sites) for name, network in chosen.items()]


def _has_sites(plugin: Plugin, cases: list[Case]) -> list[Finding]:
    try:
        if any(sites_of(plugin, case.network) for case in cases):
            return []
    except (Exception, SystemExit):  # said, with the error, by every check that asks for sites
        return []
    return [Finding(_SOME, "", "", "has no site in any of the networks; give others")]


def _listed(findings: list[Finding]) -> str:
    return "\n".join(str(finding) for finding in each_once(findings))
