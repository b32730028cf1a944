"""Tests utils.devices: a device is chosen only if it works, and has a name that people know."""

import platform
import warnings
from types import SimpleNamespace

import pytest
import torch

from utils import devices
from utils.devices import best_precision, describe, try_gpu
from utils.errors import CourseworkError
from utils.my_utils import evaluate_accuracy


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
    with pytest.warns(UserWarning, match="cuda:0 exists, but .* no kernel image is available") as caught:
        assert try_gpu() == torch.device(chosen)
    assert "more lines" not in str(caught[0].message)


def test_a_numbered_gpu_that_is_not_there_is_not_chosen(monkeypatch):
    offer(monkeypatch, cuda=2, mps=False, working=("cuda",))
    assert try_gpu(1) == torch.device("cuda", 1)
    assert try_gpu(2) == torch.device("cpu")


def test_a_gpu_whose_driver_does_not_answer_is_not_chosen(monkeypatch):
    offer(monkeypatch, cuda=1, mps=False, working=("cuda",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert try_gpu() == torch.device("cpu")


def test_the_device_chosen_here_can_be_used():
    assert torch.ones(3, device=try_gpu()).sum().item() == 3


def test_a_device_is_described_in_one_line():
    line = describe("cpu")
    assert torch.__version__ in line and "core" in line and "\n" not in line
    assert not line.startswith(" ")


@pytest.mark.parametrize(("usable", "words"), [({0}, "(1 core)"), ({0, 5}, "(2 cores)")])
def test_only_the_cores_that_this_process_may_use_are_counted(monkeypatch, usable, words):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda process: usable, raising=False)
    assert words in describe("cpu")


@pytest.mark.parametrize(("told", "words"), [(6, "(6 cores)"), (None, "(1 core)")])
def test_where_a_system_cannot_tell_the_usable_cores_all_are_counted(monkeypatch, told, words):
    monkeypatch.delattr(devices.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: told)
    assert words in describe("cpu")


def test_a_gpu_is_described_by_its_own_name_and_memory_and_not_the_processors(monkeypatch):
    gpu = SimpleNamespace(name="NVIDIA T4", total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    assert describe("cuda") == f"NVIDIA T4 (16 GiB), torch {torch.__version__}"


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_computes_in_bf16_only_if_it_really_has_it(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_precision("cuda") == precision


def test_a_processor_computes_in_bf16_only_if_torch_says_that_it_can(monkeypatch):
    for has, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has, raising=False)
        assert best_precision("cpu") == precision and best_precision("mps") == "fp32"
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")  # a torch that does not know
    assert best_precision("cpu") == "fp32"


@pytest.mark.parametrize(
    ("flags", "name"), [("fpu sse2 hypervisor", "AMD EPYC, family 25 model 17"), ("fpu sse2", "AMD EPYC")]
)
def test_a_virtual_machines_processor_is_told_from_others_of_its_name(tmp_path, flags, name):
    core = f"cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n"
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{core}\nprocessor\t: 1\n{core.replace('17', '1')}")
    assert devices._processor(tmp_path / "cpuinfo") == name


def test_a_virtual_machine_that_tells_no_family_keeps_its_plain_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name\t: Neoverse-N1\nflags\t\t: fp hypervisor\n")
    assert devices._processor(tmp_path / "cpuinfo") == "Neoverse-N1"


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
    assert devices.keep_memory() and asked == [(-4, 0), (-1, 2**31 - 1)]  # no block of its own; never given back
    monkeypatch.setattr(devices.ctypes, "pythonapi", SimpleNamespace())
    assert devices.keep_memory() is False


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_does_not_exist_is_refused(device):
    with pytest.raises(CourseworkError, match=f"The device '{device}' can't be used") as caught:
        evaluate_accuracy(torch.nn.Linear(2, 2), [(torch.ones(1, 2), torch.tensor([0]))], device)
    assert "try_gpu()" in str(caught.value)
    assert devices.as_device("cpu") == torch.device("cpu")
