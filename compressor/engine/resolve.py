"""Decisions become edits: on a structural fork, in the order of the plan, dropping what no longer applies.

Resolved plans are what candidates are told apart by: two choices that lead to the same effective edits are one
candidate. A phase of several rounds or with limits and a loop stay open, since what they meet depends on training or
measurement; so does every phase after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.engine.policy import POLICIES, admitted
from compressor.engine.sensitivity import Sensitivities
from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.plugin import sites_of
from compressor.registry import make


def resolve(plan: Plan, network: Network, sensitivities: Sensitivities, evidence: Evidence) -> Plan:
    """The plan with its decisions replaced by effective edits. ``network`` is not changed.

    Raises ``Refusal`` when nothing of the plan applies, with the last reason.
    """
    return carried_out(plan, network, sensitivities, evidence)[0]


def carried_out(plan: Plan, network: Network, sensitivities: Sensitivities, evidence: Evidence) -> tuple[Plan, Network]:
    """``resolve``, and the fork of ``network`` on which its edits were carried out, untrained."""
    fork = network.fork()
    phases: list[Phase] = []
    open_from_here = False
    for phase in plan.phases:
        open_from_here = open_from_here or depends_on_its_course(phase)
        if open_from_here:
            phases.append(phase)
        else:
            phases.append(replace(phase, steps=tuple(resolve_phase(phase, fork, sensitivities, evidence))))
    resolved = Plan(tuple(phases))
    if not any(part.steps for part in resolved.parts):
        raise Refusal("the plan changes nothing")
    return resolved, fork


def depends_on_its_course(phase: Phase) -> bool:
    """Whether what a phase does to the network is only known while it runs."""
    many = phase.rounds > 1 or phase.limits is not None or phase.timed
    return bool(phase.phases) or (many and bool(phase.steps))


def resolve_phase(
    phase: Phase,
    network: Network,
    sensitivities: Sensitivities,
    evidence: Evidence,
    apply: Callable[[Network, Edit, Evidence], object] = apply_edit,
) -> list[Edit]:
    """The edits of a phase, which ``apply`` has carried out on ``network``."""
    edits: list[Edit] = []
    for step in phase.steps:
        if isinstance(step, Edit):
            apply(network, step, evidence)
            edits.append(step)
        else:
            edits += _carry_out(step, network, sensitivities, evidence, apply)
    return edits


def _carry_out(
    decision: Decision,
    network: Network,
    sensitivities: Sensitivities,
    evidence: Evidence,
    apply: Callable[[Network, Edit, Evidence], object],
) -> list[Edit]:
    plugin = make(decision.plugin, decision.options)
    policy = POLICIES[decision.policy]
    sites = admitted(sites_of(plugin, network), decision.only, decision.skip)
    limit = policy.limit(decision, sites)
    done: list[Edit] = []
    for edit in policy.edits(decision, sites, sensitivities.of(decision.plugin, decision.options)):
        if len(done) == limit:
            break
        try:
            apply(network, edit, evidence)
        except Refusal:
            continue  # an earlier edit took the place away: the next best site has its turn
        done.append(edit)
    return done
