"""Keeps freed memory in the process while a training loop runs."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Stop glibc from returning large buffers to the kernel.

    A training step allocates and frees the same activations every time. By default each buffer
    over 32 MB, and often smaller ones, is unmapped and mapped again, and the page faults cost as
    much as the elementwise kernels (measured: 94 to 60 ms a step for five stacked replicates).

    Returns:
        Whether the allocator took both settings; other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
