"""The peak memory of this process."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_gb() -> float:
    """In main memory. A process that another one starts is told by getrusage the peak of its parent
    where that is higher (Linux copies it), so the kernel's own count comes first."""
    if _STATUS.is_file():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, or kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
