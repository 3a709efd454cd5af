"""Ctrl-C in the middle of a step: the step itself notices it, Python's own handler runs only after the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.backends.base import Cancel
from tests.small import BACKEND, tiny


@pytest.mark.skipif(os.name != "posix", reason="left out: needs signals")
@pytest.mark.parametrize("backend", [*(["native"] if BACKEND == "native" else []), "numba"])
def test_ctrl_c_ends_the_step_that_runs(backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba has no wheel for this platform")
    isa = "scalar" if backend == "native" else None
    ids = [int(i) for i in np.random.default_rng(1).integers(0, 300, 30000)]  # seconds, if nothing ends it
    with edgeq.load(tiny(), backend=backend, context=32000, chunk=8192, threads=1, isa=isa) as model:
        model.session().extend(ids[:40])  # so that kernels are compiled
        session, cancel = model.session(), Cancel()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                session.extend(ids, cancel=cancel)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a late signal must not end the tests
            timer.join()
            signal.signal(signal.SIGINT, before)
        assert cancel  # set while the step ran: by the handler in C, or by who waits for the threads
        kept = session.tokens()  # whole steps only: a fast machine may have done the first one
        assert len(kept) % 8192 == 0 and kept == ids[: len(kept)] and len(kept) < len(ids)
        cancel.clear()
        assert session.extend(ids[:5], cancel=cancel).shape == (model.vocab,)


COMPILE = """
import os, signal, sys, threading
import edgeq
model = edgeq.load(sys.argv[1], backend="numba", context=64, threads=1)
ended = 0
for delay in (0.02, 0.2, 0.4):
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        model.session().extend(range(40))
    except KeyboardInterrupt:
        ended += 1
print(ended, model.session().extend(range(40)).shape == (model.vocab,))
"""


@pytest.mark.skipif(os.name != "posix", reason="left out: needs signals")
def test_ctrl_c_ends_a_step_whose_kernels_are_being_compiled(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="numba has no wheel for this platform")
    command = [sys.executable, "-c", COMPILE, str(tiny())]
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env, check=False)
    assert (done.stdout, done.stderr) == ("3 True\n", "")


def test_threads_of_a_numba_backend_end_with_it() -> None:
    pytest.importorskip("numba", reason="numba has no wheel for this platform")
    from edgeq.backends.numba_pool import Pool

    before = set(threading.enumerate())
    pool = Pool(3)
    mine = set(threading.enumerate()) - before
    seen: list[int] = []
    pool.run(seen.append, lambda: None)
    assert (sorted(seen), len(mine)) == ([0, 1, 2], 3)
    pool.close()
    for thread in mine:
        thread.join(10)
    assert not any(thread.is_alive() for thread in mine)
