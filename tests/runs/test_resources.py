"""Readings of the machine, and the honest word where there is no GPU."""

import sys
from types import SimpleNamespace

from drivetrain.runs.resources import container_memory, nearest_existing, read_gpus, read_resources


class NvmlError(Exception):
    pass


def fake_nvml(**changes):
    functions = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetName": lambda handle: "RTX 4090",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=78),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=18 * 10**9, total=24 * 10**9),
    }
    return SimpleNamespace(**functions | changes)


def failing(message):
    def fail(*_):
        raise NvmlError(message)

    return fail


def test_a_gpu_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    (gpu,), reason = read_gpus()
    assert (gpu.uuid, gpu.name, gpu.utilization, reason) == ("GPU-0", "RTX 4090", 0.78, None)
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes) == (18 * 10**9, 24 * 10**9)


def test_a_partitioned_gpu_has_no_utilisation(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetUtilizationRates=failing("Not Supported")))
    (gpu,), _ = read_gpus()
    assert gpu.utilization is None


def test_no_gpu_has_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=failing("NVML Shared Library Not Found")))
    assert read_gpus() == ((), "NVML library not found")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetCount=failing("Insufficient Permissions")))
    assert read_gpus() == ((), "NVML: Insufficient Permissions")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetCount=lambda: 0))
    assert read_gpus() == ((), "NVML lists no device")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpus() == ((), "the package nvidia-ml-py is not installed")


def test_memory_and_disk_are_plausible(tmp_path):
    resources = read_resources(tmp_path / "not" / "there")
    assert 0 < resources.ram_used_bytes < resources.ram_total_bytes
    assert 0 < resources.disk_used_bytes <= resources.disk_total_bytes
    assert resources.num_processors >= 1
    assert nearest_existing(tmp_path / "not" / "there") == tmp_path


def test_a_containers_limit_counts_without_the_files_it_has_read(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 700\n")
    assert container_memory(tmp_path) == (200, 1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert container_memory(tmp_path) is None
    assert container_memory(tmp_path / "none") is None
