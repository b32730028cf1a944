"""Measure the memory of this process. Few modules are imported, because they would be counted as well."""

import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident(most=False):
    """Return the bytes of memory that this process holds, or the most that it ever held; on a Mac always that."""
    if STATUS.exists():
        # Not getrusage: there a new process begins with what the one that started it held.
        field = "VmHWM:" if most else "VmRSS:"
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return 1024 * int(line.split()[1])
    if os.name == "nt":
        import psutil  # which Jupyter brings

        held = psutil.Process().memory_info()
        return held.peak_wset if most else held.rss
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
