"""The benchmark times what it says it times."""

import dataclasses
import json
import math
import sys

import pytest
import torch

from ncamlib.bench import peers, training
from ncamlib.bench import rollout as bench
from ncamlib.cli import main
from ncamlib.errors import NcamError
from ncamlib.kernels import rollout

CPU = torch.device("cpu")
SMALL = bench.Case(training=True, fire_rate=0.5, grid=8, steps=3, batch=2)


def test_all_variants_compute_the_same():
    every_cell = dataclasses.replace(SMALL, fire_rate=1.0)  # CAX draws masks of its own
    state, weights, leak, steps, masks = bench.inputs(every_cell, CPU)
    results = {}
    for name, variant in bench.variants(CPU).items():
        if name != "torch.compile":  # minutes of compiling for a second of test
            results[name] = variant(state, weights, leak, steps, masks)
    assert {"naive", "bmm eager"} <= results.keys()
    for result in results.values():
        torch.testing.assert_close(result, results["naive"], rtol=1e-4, atol=1e-5)


def test_peers_agree_where_the_grid_wraps_round():
    state, weights, leak, steps, masks = bench.inputs(dataclasses.replace(SMALL, fire_rate=1.0), CPU)
    expected = rollout(state, weights, leak, steps, wrap=True, backend="reference")
    assert not torch.allclose(expected, rollout(state, weights, leak, steps, wrap=False, backend="reference"))
    for name, peer in peers.installed(wrap=True).items():
        result = peer(state, weights, leak, steps, masks)
        torch.testing.assert_close(
            result, expected, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_operations_are_counted_for_live_cells_only():
    case = bench.Case(training=False, fire_rate=1.0, grid=64, steps=1, batch=1)
    assert bench.operations(case) == pytest.approx(67.1e6, rel=1e-3)
    assert bench.operations(bench.Case(True, 0.5, 64, 1, 1)) == pytest.approx(1.5 * bench.operations(case))


def test_a_table_is_of_one_size():
    head, rows = bench.recorded()
    assert head["device"]
    with pytest.raises(NcamError, match="several sizes: select those of one"):
        bench.markdown(rows)
    assert bench.markdown(bench.select(rows, bench.HEADLINE)).count("\n") > 3


def test_ratios_need_no_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setenv("NCAM_HOME", str(tmp_path / "nowhere"))
    assert "trained_ratio" not in training.ratios("full-ce-syn", rounds=1, grid=16, steps=4, batch=2)


def test_quick_run_reports_every_column(monkeypatch, capsys):
    found = bench.variants(CPU).items()
    chosen = {k: v for k, v in found if k != "torch.compile" and not isinstance(v, peers.Peer)}
    monkeypatch.setattr(bench, "variants", lambda _: chosen)
    monkeypatch.setattr(bench, "QUICK", [SMALL])
    monkeypatch.setattr(sys, "argv", ["ncam", "bench", "--quick", "--json", "--rounds", "1"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    printed = json.loads(capsys.readouterr().out)
    rows = printed["results"]
    assert [row["grid"] for row in printed["growth"]] == [16, 24, 32, 48, 64]
    assert all(0 < row["growth"] <= 1 for row in printed["growth"])
    if "cpu" in chosen:
        assert 0 < printed["light_cone_ratio"] < 1
        assert 0 < printed["trained_ratio"] < 1.5
    else:
        assert not {"light_cone_ratio", "trained_ratio"} & printed.keys()
    assert [row["variant"] for row in rows] == list(chosen)
    for row in rows:
        assert row["direction"] == "training"
        assert {"fire_rate", "grid", "steps", "batch", "threads", "peak_memory_mib"} <= row.keys()
        assert row["ratio_to_naive"] > 0
        assert math.isfinite(row["share_of_ceiling"])
    assert rows[0]["ratio_to_naive"] == 1
