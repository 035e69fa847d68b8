"""What the C library does with large blocks of memory that are free again: it keeps them.

glibc maps each large block again and gives it back at once, so that a training on a CPU faults in
all pages of its activations at every step: nearly half of the time of a small network
(benchmarks/cpu.py). Kept blocks are used again; values are the same.
"""

import ctypes
import os
import sys

from ddkit.runtime.errors import unknown

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
LARGE = (2**30, 2**25)  # bytes; the second is the most that older versions of glibc take
NEVER = 2**31 - 1


def keep_large_blocks() -> None:
    """Have this process keep freed blocks of up to 1 GiB, for the next ones of that size.

    Called where computing begins, for it stays so as long as the process lives: loading a set
    changes nothing. DDKIT_ALLOCATOR=system leaves the allocator alone, which happens too where the
    C library has no `mallopt`, as on macOS and musl.

    Raises:
        DdkitError: DDKIT_ALLOCATOR says something else.
    """
    name = os.environ.get("DDKIT_ALLOCATOR")
    if name and name != "system":
        raise unknown("DDKIT_ALLOCATOR", name, ["system"])
    if name or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(MMAP_THRESHOLD, size) for size in LARGE):
        mallopt(TRIM_THRESHOLD, NEVER)
