"""The structural report: blocks and stages, |γ|, and what each edit added or removed."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from networks import NETWORKS, calibrated
from sample_run import network as digits
from sample_run import sample_run

from compressor.engine.plan import Edit, Phase, Plan
from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.pt2 import write_pt2
from compressor.report.structure import Structure, history_table, read_structure, replay, stages, stages_table

GROWN, BLOCK = "layer2_0_relu_1+depth", "layer1.1.conv1..add_1"


def resnet() -> Network:
    return capture(calibrated("resnet"), NETWORKS["resnet"][1])


def evidence(network: Network) -> Evidence:
    return Evidence([(torch.randn(4, *network.signature.input.shape), torch.arange(4))])


@pytest.fixture(scope="module")
def structure() -> Structure:
    before = resnet()
    after = before.fork()
    steps = (Edit("self-grow", GROWN, {"amount": 1.0}), Edit("layer-removal", BLOCK))
    history = replay(Plan((Phase("alternate", steps),)), after, evidence(before))
    return Structure(stages(before), stages(after), history)


def test_a_residual_network_has_its_blocks_by_stage(structure: Structure) -> None:
    assert [(stage.size, [block.width for block in stage.blocks]) for stage in structure.before] == [
        ((32, 32), [8]), ((16, 16), [8, 8]), ((8, 8), [16, 16]), ((4, 4), [32, 32]), ((), [10]),
    ]  # fmt: skip
    assert [block.layers for stage in structure.before for block in stage.blocks] == [1, 2, 2, 3, 2, 3, 2, 1]


def test_a_plain_chain_has_a_block_per_layer() -> None:
    found = stages(capture(calibrated("vgg"), NETWORKS["vgg"][1]))
    assert [(stage.size, len(stage.blocks)) for stage in found] == [((32, 32), 2), ((16, 16), 2), ((8, 8), 2), ((), 3)]
    assert all(block.layers == 1 for stage in found for block in stage.blocks)


def test_gamma_is_that_of_the_weakest_normalisation(structure: Structure) -> None:
    network = resnet()
    means = [float(network.leaf(f"layer2.1.bn{number}").weight.abs().mean()) for number in (1, 2)]
    assert structure.before[2].blocks[1].gamma == pytest.approx(min(means))
    assert structure.before[-1].blocks[0].gamma is None


def test_what_was_added_and_removed_shows(structure: Structure) -> None:
    before, after = ([len(stage.blocks) for stage in found] for found in (structure.before, structure.after))
    assert (before, after) == ([1, 2, 2, 2, 1], [1, 1, 3, 2, 1])
    assert structure.after[2].blocks[1].gamma == 0
    grown, removed = structure.history
    assert (grown.plugin, grown.site, grown.phase) == ("self-grow", GROWN, "alternate")
    assert grown.params == 2 * 16 * 16 * 9 + 2 * 2 * 16
    assert removed.params == -(2 * 8 * 8 * 9 + 2 * 2 * 8)
    assert removed.macs == -2 * 8 * 8 * 9 * 16 * 16


def test_history_adds_up_to_the_difference() -> None:
    network = resnet()
    before = network_cost(network)
    plan = Plan((Phase("a", (Edit("self-grow", GROWN),)), Phase("b", (Edit("binarize", "fc"),))))
    history = replay(plan, network, evidence(network))
    after = network_cost(network)
    assert sum(step.params for step in history) == after.parameter_count - before.parameter_count
    assert sum(step.macs for step in history) == after.mac_count - before.mac_count
    with pytest.raises(Refusal):
        replay(Plan((Phase("c", (Edit("self-grow", "nowhere"),)),)), network, evidence(network))


def test_the_tables_say_it(structure: Structure) -> None:
    rows = stages_table(structure).rows
    assert rows[2][:3] == ("8×8", "2", "16 (2×)")
    assert rows[2][4:6] == ("3", "16 (3×)")
    assert rows[2][6].split()[1] == "0.00"
    assert rows[-1][0] == "features"
    assert [row[3:] for row in history_table(structure.history).rows] == [
        ("added", "+4,672", "+294,912"),
        ("removed", "−1,184", "−294,912"),
    ]


def test_a_run_folder_is_read_and_a_missing_file_is_no_error(tmp_path: Path) -> None:
    run = sample_run(tmp_path / "run")
    folder = run.candidate(run.result().best.digest)  # type: ignore[union-attr]
    assert read_structure(run.baseline, folder) is None
    network = digits()
    write_pt2(network, run.baseline / "model.pt2")
    plan = Plan.from_json((folder / "plan.json").read_bytes())
    replay(plan, network, evidence(network))
    safetensors.torch.save_model(network.module, str(folder / "weights.safetensors"))
    found = read_structure(run.baseline, folder)
    assert found is not None
    assert [step.site for step in found.history] == [edit.site for edit in plan.edits]
    (folder / "weights.safetensors").write_bytes(b"damaged")
    assert read_structure(run.baseline, folder) is None
