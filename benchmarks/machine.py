"""On what was measured: a figure without its machine says nothing."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("bluesky", "ophyd", "tiled", "bluesky-tiled-plugins", "h5py", "hdf5plugin")


def description() -> list[str]:
    """Return lines on processor, memory, system, versions and the load while measuring."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [
        f"processor: {_processor()}, {len(os.sched_getaffinity(0))} cores for this process, "
        f"{memory_gb:.0f} GB of memory",
        f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions: " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        f"load over 1, 5, 15 minutes: {load} (what else runs here is in the figures)",
        f"date: {time.strftime('%Y-%m-%d %H:%M %Z')}",
    ]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
