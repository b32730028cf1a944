"""Tests utils.devices: a device is chosen only if it works, and has a name that people know."""

import platform
import warnings
from types import SimpleNamespace

import pytest
import torch

from utils import devices
from utils.devices import describe, try_gpu


def offer(monkeypatch, *, cuda, mps, working):
    """Let torch report these devices, of which only the working ones can do anything."""

    def ones(*size, device):
        if torch.device(device).type not in working:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")
        return torch.full(size, 1.0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(devices.torch, "ones", ones)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(1, False, "cuda:0"), (1, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu")]
)
def test_the_fastest_device_that_works_is_chosen(monkeypatch, cuda, mps, chosen):
    offer(monkeypatch, cuda=cuda, mps=mps, working=("cuda", "mps"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert try_gpu() == torch.device(chosen)


@pytest.mark.parametrize(("mps", "chosen"), [(True, "mps"), (False, "cpu")])
def test_a_gpu_that_fails_at_its_first_operation_is_passed_over_with_a_warning(monkeypatch, mps, chosen):
    offer(monkeypatch, cuda=1, mps=mps, working=("mps",))
    with pytest.warns(UserWarning, match="cuda:0 is there, but .* no kernel image is available") as caught:
        assert try_gpu() == torch.device(chosen)
    assert "more lines" not in str(caught[0].message)


def test_a_numbered_gpu_that_is_not_there_is_not_chosen(monkeypatch):
    offer(monkeypatch, cuda=2, mps=False, working=("cuda",))
    assert try_gpu(1) == torch.device("cuda", 1)
    assert try_gpu(2) == torch.device("cpu")


def test_the_device_chosen_here_can_be_used():
    assert torch.ones(3, device=try_gpu()).sum().item() == 3


def test_a_device_is_described_in_one_line():
    line = describe("cpu")
    assert torch.__version__ in line and "core" in line and "\n" not in line
    assert not line.startswith(" ")


@pytest.mark.parametrize(
    ("flags", "name"), [("fpu sse2 hypervisor", "AMD EPYC, family 25 model 17"), ("fpu sse2", "AMD EPYC")]
)
def test_a_virtual_machines_processor_is_told_from_others_of_its_name(tmp_path, flags, name):
    core = f"cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n"
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{core}\nprocessor\t: 1\n{core.replace('17', '1')}")
    assert devices._processor(tmp_path / "cpuinfo") == name


def test_a_machine_without_cpuinfo_has_a_name_all_the_same(tmp_path):
    assert devices._processor(tmp_path / "none") == (platform.processor() or platform.machine())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_described_by_name_and_memory():
    assert torch.cuda.get_device_name() in describe("cuda") and "GiB" in describe("cuda")


def test_memory_is_kept_where_glibc_can_be_asked_to_and_never_an_error_elsewhere(monkeypatch):
    assert devices.keep_memory() == (platform.libc_ver()[0] == "glibc")
    asked = []
    monkeypatch.setattr(devices.ctypes, "pythonapi", SimpleNamespace(mallopt=lambda *words: asked.append(words) or 1))
    assert devices.keep_memory() and [name for name, _ in asked] == [-4, -1]
    monkeypatch.setattr(devices.ctypes, "pythonapi", SimpleNamespace())
    assert devices.keep_memory() is False
