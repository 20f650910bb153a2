"""
A loop of plain Python, so that figures of different machines compare.
"""

from __future__ import annotations

import time


def calibrate() -> float:
    """
    Print and return the seconds of one loop: 200 additions to a dictionary.
    """
    best = float("inf")
    for _ in range(200):
        begun = time.perf_counter()
        for _ in range(20):
            counts: dict[int, int] = {}
            for number in range(200):
                counts[number & 15] = number
        best = min(best, (time.perf_counter() - begun) / 20)
    print(f"calibration: one loop takes {best * 1e6:.2f} us; figures in brackets are ratios to it")
    return best
