"""Ctrl-C in the middle of a step: the step itself notices it, Python's own handler runs only after the call."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

import edgeq
from edgeq.backends.base import Cancel
from tests.small import BACKEND, tiny


@pytest.mark.skipif(BACKEND != "native" or os.name != "posix", reason="left out: needs the native library and signals")
def test_ctrl_c_ends_the_step_that_runs() -> None:
    ids = [int(i) for i in np.random.default_rng(1).integers(0, 300, 5000)]
    with edgeq.load(tiny(), context=6000, chunk=8192, threads=1, isa="scalar") as model:
        session, cancel = model.session(), Cancel()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            with pytest.raises(KeyboardInterrupt):
                session.extend(ids, cancel=cancel)
        finally:
            signal.signal(signal.SIGINT, before)
        assert cancel  # set by the handler in C, while the step ran
        assert session.tokens() == []
        cancel.clear()
        assert session.extend(ids[:5], cancel=cancel).shape == (model.vocab,)
