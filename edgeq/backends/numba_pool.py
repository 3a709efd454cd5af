"""Threads that run one function at a time together, without the GIL. The caller waits and can be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Task = Any  # (function, index of the thread, queue for its end), or None to end the thread


class Pool:
    """`threads` daemon threads that sleep between steps. Steps of several callers run one after the other."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.lock = threading.Lock()
        self._queues: list[SimpleQueue[Task]] = [SimpleQueue() for _ in range(threads)]
        for index, queue in enumerate(self._queues):
            threading.Thread(target=_work, args=(queue,), name=f"edgeq-numba-{index}", daemon=True).start()

    def run(self, function: Callable[[int], object], interrupt: Callable[[], None]) -> None:
        """function(index) on every thread. Ctrl-C calls `interrupt`, and is raised when all have ended."""
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        for index, queue in enumerate(self._queues):
            queue.put((function, index, ended))
        problem: BaseException | None = None
        waiting = self.threads
        while waiting:
            try:
                found = ended.get()
                waiting -= 1
                problem = problem or found
            except (KeyboardInterrupt, SystemExit) as error:  # Ctrl-C, SIGTERM
                interrupt()
                problem = error
        if problem is not None:
            raise problem

    def close(self) -> None:
        for queue in self._queues:
            queue.put(None)
        self._queues = []

    def __del__(self) -> None:
        self.close()


def _work(queue: SimpleQueue[Task]) -> None:
    """Holds nothing of a task when it is done, so that an executable can be freed."""
    while (task := queue.get()) is not None:
        function, index, ended = task
        try:
            function(index)
            problem = None
        except BaseException as error:
            problem = error
        del task, function
        ended.put(problem)
        del ended, problem
