"""The payoff table: what a line requires, when it is met, and that lines are kept by plugin."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from compressor.measure.latency import Comparison

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def comparison(speedup: float) -> Comparison:
    return Comparison(speedup, speedup - 0.01, speedup + 0.01, 20.0, 20.0 / speedup, 21.0, 21.0, 30.0, 81, 9, 0.5)


def row(load, speedup: float = 1.0, after: int = 100, **values):
    return load("payoffs._rows").PayoffRow("a rewrite", 1000, after, comparison(speedup), **values)


def test_a_line_is_met_where_speed_and_bytes_are(load) -> None:
    assert row(load, required=0.98, required_bytes=10).met
    assert not row(load, 0.97, required=0.98).met
    assert not row(load, required_bytes=10.1).met
    assert row(load, required_bytes=20, layer_before=900, layer_after=45).met
    assert not row(load, required_bytes=20.1, layer_before=900, layer_after=45).met


def test_a_line_says_what_it_requires(load) -> None:
    assert row(load, required=1.5, required_bytes=7.6).cells()["required"] == "1.50×, ÷ 7.6"
    free = row(load)
    assert (free.wanted, free.cells()[""], free.cells()["÷"], free.cells()["layer ÷"]) == ("", "", "10.00", "")
    assert row(load, 0.9, required=0.98).cells()[""] == "MISSED"
    assert row(load, 1.21).cells()["speed-up [95 %]"] == "1.21 [1.20, 1.22]"


def test_lines_are_kept_by_plugin_and_counted(load, tmp_path: Path) -> None:
    payoff = load("payoff")
    path = tmp_path / "data" / "payoff.json"
    payoff.keep("conv3d", [row(load)], path)
    payoff.keep("meta-head", [row(load, 0.9, required=0.98)], path)
    payoff.keep("conv3d", [row(load, 1.3, required=1.15), row(load)], path)
    found = payoff.kept(path)
    assert found == {"conv3d": [row(load, 1.3, required=1.15), row(load)], "meta-head": [row(load, 0.9, required=0.98)]}
    page = load("payoffs._page").by_plugin(found, ["here"])
    assert "What was missed: 1 of 2" in page
    assert [line.split("|")[6].strip() for line in page.splitlines()[4:6]] == ["1 of 1", "0 of 1"]


def test_every_plugin_has_its_lines(load) -> None:
    for plugin in load("payoff").PLUGINS:
        assert callable(load(f"payoffs.{plugin.replace('-', '_')}").rows)


def test_layers_of_some_size_have_to_shrink_by_their_bits(load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requirement of integer weights, with what the files really hold; nothing is timed."""
    module, layers = load("payoffs.quantize_weights"), load("payoffs.quantize_weights").layers()
    monkeypatch.setattr(load("payoffs._rows"), "compare", lambda *models, **options: comparison(1.0))
    monkeypatch.setattr(module, "layers", lambda: {name: layers[name] for name in ("Linear 120→84", "Linear 784→120")})
    lines = list(module.rows())
    assert [line.required_bytes for line in lines] == [0, 0, 0, 0, 3.9, 3.9, 7.6, 7.6]
    assert all(line.met and line.required == 0.98 for line in lines)
