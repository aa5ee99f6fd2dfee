"""One micro-batch for each core, instead of all cores on one: threads that compute with one core each.

Networks of this field are small. If all cores share each operation, they synchronise thousands of times a step and wait
for the slowest; if each has its own micro-batch, they synchronise once, and activations stay in the core's cache. The
results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from ddbias.learning.device import kind


def spread(function: Callable[[Any], Any], items: Iterable[Any], device: torch.device) -> list[Any]:
    """Return ``[function(item) for item in items]``, computed by as many workers as torch has threads.

    `function` must set the gradient mode that it needs: the caller's is not that of the workers. On a GPU, which does
    its own spreading, and with one thread, it is called here.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not kind(device).micro_batches:
        return [function(item) for item in items]
    return list(_pool(threads).map(function, items))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    together = threading.Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # its first call in a thread takes up the number that was set last in any
        torch.set_flush_denormal(True)  # as in the main thread of a job; it is a property of the thread

    pool = ThreadPoolExecutor(threads, thread_name_prefix="micro-batch", initializer=start)
    list(pool.map(lambda _: together.wait(), range(threads)))  # all have started
    torch.set_num_threads(threads)  # what a worker sets is also the default of threads to come
    return pool
