"""
What a function has allocated by the time that it returns.

Counts what is alive at its end, its result included; objects that came and
went are seen in its time alone.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any


def blocks_held(function: Callable[[], object]) -> int:
    """
    @return: how many blocks of memory are alive when C{function} returns that
        were not when it was called: the least of several calls, for the
        interpreter keeps some of its own.
    """
    code = function.__code__
    counted: list[int] = []
    begun_with = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal begun_with
        if frame.f_code is not code:
            return
        if event == "call":
            begun_with = sys.getallocatedblocks()
        elif event == "return":
            counted.append(sys.getallocatedblocks() - begun_with)

    gc.disable()
    try:
        for _ in range(20):
            sys.setprofile(profile)
            function()
            sys.setprofile(None)
    finally:
        sys.setprofile(None)
        gc.enable()
    return min(counted)


def peak_bytes(function: Callable[[], object]) -> int:
    """
    @return: how much memory a function needs at most while it runs.
    """
    tracemalloc.start()
    function()
    begun_with, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - begun_with
