"""
Replays what the fuzzer has found, and what it begins with.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz.run import seeds
from fuzz.targets import TARGETS

FOUND = Path(__file__).parent.parent / "corpus" / "found"


class FoundTests(SynchronousTestCase):
    """
    Tests for every target of L{fuzz.targets}.
    """

    def test_the_seeds_pass(self) -> None:
        """
        There are some for each target.
        """
        for name, target in TARGETS.items():
            self.assertGreater(len(seeds(name)), 3, name)
            for seed in seeds(name):
                target(seed)

    def test_what_was_found_passes(self) -> None:
        """
        Each finding, by every target: it may say something to others too.
        """
        for path in sorted(FOUND.glob("*/*")):
            self.assertIn(path.parent.name, TARGETS)
            for target in TARGETS.values():
                target(path.read_bytes())
