"""Peak FLOP/s: dense figures by name, measured for CPUs, and never a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gatewright.hardware import measure
from gatewright.hardware.measure import Peak, measure_cpu, peak_flops
from gatewright.hardware.peaks import find_peak, peak_table


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "bf16", 756.5),
        ("NVIDIA H100 NVL", "bf16", 835.5),
        ("NVIDIA H200", "bf16", 989.5),
        ("NVIDIA B200", "bf16", 2250),
        ("NVIDIA GB200", "bf16", 2500),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L4", "bf16", 121),
        ("Tesla T4", "fp16", 65),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA GeForce RTX 3090", "bf16", 71),
        ("AMD Instinct MI300X", "bf16", 1307.4),
        ("AMD Instinct MI250X", "bf16", 191.5),
        ("Apple M1", "float32", 2.6),
        ("Apple M2 Max", "float32", 13.6),
    ],
)
def test_known_devices(name: str, precision: str, tflops: float) -> None:
    row = find_peak(name)
    assert row is not None
    assert row.flops(precision) == pytest.approx(tflops * 1e12)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce RTX 2080 Ti", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H20", "Apple M9", "Some GPU", ""],
)
def test_unknown_devices_have_no_peak(name: str) -> None:
    assert find_peak(name) is None


def test_figures_are_dense_and_sensible() -> None:
    """16-bit rates are twice the TF32 rate on every card, which one sparse figure among dense ones would break."""
    for row in peak_table():
        for precision in ("float32", "tf32", "bf16", "fp16"):
            flops = row.flops(precision)
            assert flops is None or 1e12 <= flops <= 2.5e15, row
        if row.tf32 and row.bf16:
            assert row.bf16 / row.tf32 == pytest.approx(2, rel=0.02), row
        assert row.source


def fake_cuda(monkeypatch: pytest.MonkeyPatch, name: str) -> torch.device:
    monkeypatch.setattr(measure, "device_name", lambda device: name)
    return torch.device("cuda")


def test_unknown_accelerator_is_unknown_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = peak_flops(fake_cuda(monkeypatch, "Quantum 9000"), "bf16")
    assert (peak.flops, peak.how) == (None, "unknown")
    assert "Quantum 9000" in peak.source


def test_precision_the_card_lacks_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(fake_cuda(monkeypatch, "Tesla T4"), "bf16").flops is None


def test_float32_products_on_tf32_cores_are_held_against_those(monkeypatch: pytest.MonkeyPatch) -> None:
    device = fake_cuda(monkeypatch, "NVIDIA A100-SXM4-40GB")
    for mode, tflops in {"highest": 19.5, "high": 156}.items():
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda mode=mode: mode)
        assert peak_flops(device, "float32") == Peak(tflops * 1e12, "tabulated", peak_flops(device, "float32").source)


def test_cpu_is_measured_and_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path))
    calls: list[str] = []

    def count(precision: str) -> float:
        calls.append(precision)
        return measure_cpu(precision, seconds=0.01, size=128)

    monkeypatch.setattr(measure, "measure_cpu", count)
    cpu = torch.device("cpu")
    first = peak_flops(cpu, "float32")
    assert first.how == "measured"
    assert first.flops is not None
    assert first.flops > 1e8
    assert peak_flops(cpu, "float32") == first
    peak_flops(cpu, "bf16")
    assert calls == ["float32", "bf16"]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    peak_flops(cpu, "float32")
    torch.set_num_threads(threads)
    assert calls == ["float32", "bf16", "float32"]
    assert len(json.loads((tmp_path / "cpu-peaks.json").read_text())) == 3

    (tmp_path / "cpu-peaks.json").write_text('{"torn')
    assert peak_flops(cpu, "float32").flops is not None
    assert len(calls) == 4


def test_a_product_cannot_beat_the_measured_peak_by_much() -> None:
    """The measure is the best of many products, so another product of that kind stays near or below it."""
    torch.set_num_threads(1)
    peak = measure_cpu("float32", seconds=0.3, size=512)
    assert measure_cpu("float32", seconds=0.05, size=512) < 1.5 * peak
