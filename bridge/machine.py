"""What this machine is called: its processor and its GPU, as the system tells it. For `doctor` and for reports."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str:
    """The NVIDIA GPU and its driver, or that there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none (no nvidia-smi); the shipped model needs none"
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError) as exc:
        return f"nvidia-smi failed: {exc}"
    return answer.stdout.strip().replace("\n", "; ")
