"""Memory settings of a process that lives long and moves big buffers."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

KEPT_FREE_BYTES: Final = 32 * 1024 * 1024
"""Free memory that is kept at the top of the heap. By default it goes back to the kernel after every reply of a
few 100 KB, and comes again page by page: a third of the work of serving big bodies."""

OWN_MAPPING_BYTES: Final = 8 * 1024 * 1024
"""A buffer of this size is rare enough to be mapped, and given back, by itself."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Parameters of glibc's `mallopt(3)`."""


def settle_memory() -> None:
    """Call once, when all is imported and before the work begins."""
    # What the imports made is never garbage; a collection that looks through it costs more than all the rest.
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_FREE_BYTES)
        mallopt(_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
