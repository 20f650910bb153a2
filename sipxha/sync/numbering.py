"""
The numbers that this node gives to its own updates.

What the store had, what earlier lives gave beyond that, and where this life
counts from (SyncDesign 5.3, design 5.1).
"""

from __future__ import annotations

from sipxha.sync.effects import NumberRaised
from sipxha.sync.link import Link
from sipxha.sync.mesh import Mesh
from sipxha.sync.numbers import above, epoch_step


class Numbering:
    """
    DbUpdateNumber, and what is known of it.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._floor = 0
        """The greatest own number that the store had at start."""

        self._stepped = 0
        """The number from which this life counts."""

        self._pulled = 0
        """The greatest number of earlier lives that is known: between it and C{_stepped} there was none."""

    def begin(self) -> None:
        """
        The registry holds what the store had.
        """
        registry = self._mesh.registry
        self._floor = registry.largest_number(self._mesh.name)
        registry.raise_update_number(self._floor)

    def step(self) -> None:
        """
        Count from an epoch of this life's own.
        """
        registry = self._mesh.registry
        self._pulled = registry.update_number
        self._stepped = epoch_step(registry.update_number, self._mesh.now)
        registry.raise_update_number(self._stepped)

    def known(self, primary: str) -> int:
        """
        From which number on we lack rows of a registrar.
        """
        return self._floor if primary == self._mesh.name else self._mesh.links[primary].received

    def peer_holds(self, link: Link, number: int) -> None:
        """
        A peer has our updates up to C{number}.

        That may be one that this life has not given: then our numbers must
        not stay below it (design 5.1), and the peer holds rows of an earlier
        life that no start-up pull has seen.
        """
        mesh = self._mesh
        registry = mesh.registry
        if number > registry.update_number:
            own = registry.rows_after(mesh.name, self._stepped)
            self._stepped = above(number)
            registry.raise_update_number(self._stepped)
            mesh.emit(NumberRaised(link.name, number))
            renumbered = registry.renumber(own)
            if renumbered:
                mesh.store(renumbered)
        if max(self._pulled, link.returned) < number <= self._stepped:
            link.pulls[mesh.name] = None
