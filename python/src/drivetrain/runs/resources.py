"""What the machine has left: GPU by NVML, memory and processors by psutil, disk by the operating system."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from drivetrain.processes import usable_cores


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU as NVML sees it now."""

    uuid: str
    """NVML's identity of the device, the same in every process."""
    name: str
    """Product name."""
    utilization: float | None
    """Share of the last sample period in which a kernel ran, 0..1; None where the driver does not tell."""
    memory_used_bytes: int
    """Memory in use by all processes [byte]."""
    memory_total_bytes: int
    """Memory of the device [byte]."""


@dataclass(frozen=True, kw_only=True)
class SystemResources:
    """The machine's resources at one moment."""

    gpus: tuple[GpuReading, ...]
    """Every GPU that NVML lists; empty without one."""
    gpu_reason: str | None
    """Why `gpus` is empty; None when it is not."""
    ram_used_bytes: int
    """Memory that is not available to new processes [byte]."""
    ram_total_bytes: int
    """Memory of the machine, or of its container where that is less [byte]."""
    disk_used_bytes: int
    """Used bytes of the file system that holds the runs [byte]."""
    disk_free_bytes: int
    """Bytes a user can still write there [byte]."""
    disk_total_bytes: int
    """Size of that file system [byte]."""
    num_processors: int
    """Processors this process may run on."""
    load_average: float
    """Runnable processes, mean of the last minute."""


def read_resources(folder: Path) -> SystemResources:
    """Return the machine's resources; disk is that of the file system holding `folder`."""
    gpus, reason = read_gpus()
    ram_used, ram_total = read_memory()
    disk = shutil.disk_usage(nearest_existing(folder))
    return SystemResources(
        gpus=gpus,
        gpu_reason=reason,
        ram_used_bytes=ram_used,
        ram_total_bytes=ram_total,
        disk_used_bytes=disk.used,
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        num_processors=usable_cores(),
        load_average=os.getloadavg()[0],
    )


def read_gpus() -> tuple[tuple[GpuReading, ...], str | None]:
    """Return every GPU, or nothing and the reason. Never raises: a report without a GPU is still a report."""
    try:
        import pynvml
    except ImportError:
        return (), "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), f"NVML: {error}".replace("NVML: NVML Shared Library Not Found", "NVML library not found")
    try:
        count = pynvml.nvmlDeviceGetCount()
        gpus = tuple(_read_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))
    except pynvml.NVMLError as error:
        return (), f"NVML: {error}"
    finally:
        pynvml.nvmlShutdown()
    return gpus, None if gpus else "NVML lists no device"


def gpu_driver() -> str | None:
    """Return the version of the GPU driver, or None where there is none."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _read_gpu(handle: object) -> GpuReading:
    import pynvml

    try:
        utilization = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100.0
    except pynvml.NVMLError:
        utilization = None  # for example a partitioned device
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuReading(
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        utilization=utilization,
        memory_used_bytes=int(memory.used),
        memory_total_bytes=int(memory.total),
    )


def read_memory() -> tuple[int, int]:
    """Return used and total memory [byte]; a container's limit counts where it is below the machine's memory."""
    import psutil

    memory = psutil.virtual_memory()
    limited = container_memory(Path("/sys/fs/cgroup"))
    if limited is not None and limited[1] < memory.total:
        return limited
    return memory.total - memory.available, memory.total


def container_memory(group: Path) -> tuple[int, int] | None:
    """Return used memory and the limit of a control group [byte], or None where there is no limit."""
    try:
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
        details = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Files that were read are counted too, but the kernel drops them as soon as anybody needs the memory.
        return max(min(current - int(details["inactive_file"]), limit), 0), limit
    except (OSError, ValueError, KeyError):
        return None  # no control group of the second version, or the limit is "max"


def nearest_existing(path: Path) -> Path:
    """Return the path itself or its nearest parent that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
