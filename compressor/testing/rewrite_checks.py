"""Checks of ``rewrite``: what became of the network."""

from __future__ import annotations

import math

import safetensors.torch
import torch
from torch import Tensor

from compressor.errors import BrokenPromise, ExportError
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.graph.leaf import Leaf
from compressor.graph.nested import joined, rows
from compressor.graph.network import Network
from compressor.graph.verify import check_promise, differs
from compressor.knobs import defaults
from compressor.measure.parity import numeric_parity
from compressor.testing.case import Case, Rewritten, equal, kit_seeded, outputs, same, train_step
from compressor.testing.site_checks import Messages

BYTES_PER_LEAF = 800
"""What the nodes of one layer may take in the file beside its weights."""


def rewrites_change_something(case: Case) -> Messages:
    for done in case.rewritten:
        if not done.changes:
            yield done.site.path, "the editor recorded no change"
        elif not differs(case.network, done.network):
            yield done.site.path, "structure and weights are what they were"


def rewrites_are_deterministic(case: Case) -> Messages:
    """The same edit on two forks, from the same random state, gives the same network; the two share no weight."""
    for done in case.rewritten:
        if not same(done.network, done.again, case.images):
            yield done.site.path, "the same edit gave two different networks"
        for name in _shared(done.network, done.again):
            yield done.site.path, f"two forks share the memory of {name}"


def forks_are_isolated(case: Case) -> Messages:
    """Rewriting and training a fork leaves the original as it was."""
    before = case.network.fork()
    for done in case.rewritten:
        fork, _ = case.rewrite(done.site, defaults(done.site.knobs))
        for name in _shared(case.network, fork):
            yield done.site.path, f"the fork shares the memory of {name} with the original"
        train_step(fork, case.evidence)
        if not same(before, case.network, case.images):
            yield done.site.path, "the original network changed"
            return


def networks_run(case: Case) -> Messages:
    """Eval mode: finite, repeatable, each sample for itself, at any batch size. Train mode: runs. Modes are kept."""
    for done in case.rewritten:
        network = done.network
        if network.module.training or any(module.training for module in network.module.modules()):
            yield done.site.path, "the network was in eval mode and part of it is not any more"
        expected = outputs(case.network, case.images)
        found = outputs(network, case.images)
        wrong = [
            f"outputs of shape {tuple(own.shape)} are not finite {tuple(was.shape)}"
            for own, was in zip(found, expected, strict=True)
            if own.shape != was.shape or not bool(own.isfinite().all())
        ]
        if wrong:
            yield done.site.path, wrong[0]
            continue
        if not equal(found, outputs(network, case.images)):
            yield done.site.path, "eval mode gives different outputs for the same images"
        single = joined([outputs(network, rows(case.images, slice(at, at + 1))) for at in range(4)])
        if not all(
            torch.allclose(one.float(), own[:4].float(), rtol=1e-3, atol=1e-4 * float(own.abs().max()))
            for one, own in zip(single, found, strict=True)
        ):
            yield done.site.path, "in eval mode a sample's output depends on the rest of its batch"
        network.fork().train()(case.images)


def gradients_flow(case: Case) -> Messages:
    """Every trainable parameter gets a gradient; one that was zero everywhere before may stay so."""
    moved = case.network.fork()
    train_step(moved, case.evidence)
    idle = _without_gradient(moved, case)
    for done in case.rewritten:
        for name, problem in _without_gradient(done.trained.fork(), case).items():
            if name not in idle:
                yield done.site.path, f"parameter {name} {problem}"


def trained_weights_survive(case: Case) -> Messages:
    """Weights of a trained network, saved and loaded into a replay of the same edit, compute the same."""
    for done in case.rewritten:
        trained, replay = done.trained, done.again.fork()
        state = {name: value.contiguous().clone() for name, value in trained.module.state_dict().items()}
        loaded = safetensors.torch.load(safetensors.torch.save(state))
        try:
            replay.module.load_state_dict(loaded)
        except RuntimeError as error:
            yield done.site.path, f"saved weights do not load into a replay: {' '.join(str(error).split())}"
            continue
        if not equal(outputs(trained, case.images), outputs(replay, case.images)):
            yield done.site.path, "loaded weights compute something else: part of the state is not in the state_dict"


def onnx_agrees(case: Case) -> Messages:
    """The ONNX file computes what the network computes, in ONNX Runtime, untrained and after a training step."""
    for done in case.rewritten:
        for name, network in (("", done.network), ("after a training step ", done.trained)):
            try:
                parity = numeric_parity(network, to_onnx(network), [case.images, rows(case.images, slice(0, 1))])
            except ExportError as error:
                yield done.site.path, f"{name}no ONNX form: {error}"
                break
            if not parity.ok:
                worst = max(parity.errors, key=parity.errors.__getitem__)
                where = f" (in {worst})" if len(parity.errors) > 1 else ""
                off = f"{name}the ONNX file is off by {parity.max_error:.2g} of the output's scale{where}"
                yield done.site.path, off


def costs_are_true(case: Case) -> Messages:
    """No leaf counts parameters it does not have, shapes are those of the values, and claimed bytes leave the file."""
    before_claim, before_file = network_cost(case.network).weight_bytes, len(to_onnx(case.network))
    for done in case.rewritten:
        yield from _leaf_costs(done)
        claimed = before_claim - network_cost(done.network).weight_bytes
        try:
            real = before_file - len(to_onnx(done.network))
        except ExportError:
            continue  # said by another check
        new = len({path for path, _ in done.network.leaves()} - {path for path, _ in case.network.leaves()})
        allowance = BYTES_PER_LEAF * (new + len(done.changes))
        if claimed - real > 0.1 * abs(claimed) + allowance:
            yield done.site.path, f"claims to save {claimed:.0f} bytes of weights, but the file lost {real}"


def promises_are_kept(case: Case) -> Messages:
    for done in case.rewritten:
        try:
            check_promise(case.plugin.promise, case.network, done.network, case.evidence)
        except BrokenPromise as broken:
            yield done.site.path, str(broken)


# --- steps -----------------------------------------------------------------------------------------------------------


def _without_gradient(moved: Network, case: Case) -> dict[str, str]:
    """Parameters without a useful gradient, and why; of a network whose weights moved (exact zeros may be a start)."""
    moved.train()
    moved.module.zero_grad()
    inputs, target = case.evidence.batches[-1]
    with kit_seeded():
        torch.autograd.backward(case.evidence.loss(moved(inputs), target))
    problems = {}
    for name, parameter in moved.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            problems[name] = "gets no gradient"
        elif not bool(parameter.grad.isfinite().all()):
            problems[name] = "gets a gradient that is not finite"
        elif not bool(parameter.grad.any()):
            problems[name] = "gets a gradient of zeros"
    return problems


def _shared(left: Network, right: Network) -> list[str]:
    addresses = {value.data_ptr() for _, value in _tensors(left)} - {0}
    return [name for name, value in _tensors(right) if value.data_ptr() in addresses]


def _tensors(network: Network) -> list[tuple[str, Tensor]]:
    return list(network.module.state_dict(keep_vars=True).items())


def _leaf_costs(done: Rewritten) -> Messages:
    for node, leaf in done.network.calls():
        if not isinstance(leaf, Leaf):
            continue
        cost = leaf.cost(*(done.network.shape(source) for source in node.all_input_nodes))
        counted = sum(math.prod(parameter.shape) for parameter in leaf.parameters())
        if cost.parameter_count > counted or (counted and not cost.parameter_count):
            yield done.site.path, f"{node.target} states {cost.parameter_count} parameters and has {counted}"
        figures = [*cost.parameters.items(), *cost.macs.items()]
        if any(type(value) is not int or value < 0 for pair in figures for value in pair):
            yield done.site.path, f"{node.target} states a cost that is no count: {cost}"
