"""
Who watches which address-of-record, and when each is told (RFC 6665 section
4.2, RFC 3680).

A L{Notifier} decides that a watcher is to be told, and what; it knows no
message and sends none, and does not ask who may watch.  What it keeps is gone
with the process: watchers subscribe again.

Each notification has the full state, so changes that come while a watcher
waits are told in one.  A SUBSCRIBE is followed by one at once; changes are
told at once if the last notification is L{SPACING} old, else when it is
(RFC 3680 section 4.10); never while the last one is unanswered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, NamedTuple, TypeVar

from sipxha.errors import RemoteError
from sipxha.registry.binding import Binding
from sipxha.registry.reginfo import Contact, contact_id, contacts_now, document
from sipxha.registry.rows import Rows

SPACING = 5.0
"""Seconds between two notifications of changes to one watcher."""

MOST_OF_ONE = 20
"""Subscriptions to one address-of-record."""

MOST = 20_000
"""Subscriptions of a node, at a few kB each."""

_UNWANTED = frozenset((404, 405, 410, 416, *range(480, 486), 489, 501, 604))
"""Answers after which a subscription must go (RFC 6665 section 4.2.2)."""

_LOST = frozenset((408, 430, 503))
"""Answers that mean that the watcher cannot be reached (RFC 6665 section 4.2.2, RFC 5626)."""

D = TypeVar("D")

Key = tuple[str, str, str, str]
"""Call-ID, our tag, the watcher's tag and the id of the Event."""


class TooManySubscriptions(RemoteError):
    """
    No more watchers are taken.
    """

    def __init__(self, status: int) -> None:
        super().__init__("Too Many Subscriptions")
        self.status = status


class Notify(NamedTuple, Generic[D]):
    """
    The effect: tell a watcher.
    """

    key: Key

    dialog: D
    """What the subscription was made with."""

    version: int
    """0 for the first; one more each time."""

    state: str
    """The value of Subscription-State."""

    body: str


class _Subscription(Generic[D]):
    """
    One watcher of one address-of-record.
    """

    __slots__ = (
        "deactivated",
        "dialog",
        "end",
        "has_news",
        "identity",
        "is_owed",
        "is_waiting",
        "key",
        "reason",
        "told",
        "told_at",
        "version",
        "wake",
    )

    def __init__(self, key: Key, identity: str, dialog: D) -> None:
        self.key = key
        self.identity = identity
        self.dialog = dialog
        self.end = 0.0
        self.reason = "timeout"
        self.version = 0
        self.told: dict[str, Contact] = {}
        self.told_at = -inf
        self.deactivated: set[str] = set()
        """The ids of contacts that we ended since then."""

        self.has_news = False
        """Whether a row changed since the watcher was told."""

        self.is_owed = False
        """Whether it is to be told even if nothing has changed."""

        self.is_waiting = False
        """Whether a notification is unanswered."""

        self.wake = inf

    def next_look(self) -> float:
        """
        When there may be something to do.
        """
        if self.is_waiting:
            return inf
        if self.is_owed:
            return -inf
        news = -inf if self.has_news else inf
        for contact in self.told.values():
            news = min(news, contact.row.deadline)
        return min(self.end, max(news, self.told_at + SPACING))


class Notifier(Generic[D]):
    """
    All watchers of a node.
    """

    def __init__(self, rows: Rows, heard: Callable[[str], None]) -> None:
        """
        @param heard: Told of each change of what is watched, in its midst; to
            call L{changed} soon after.
        """
        self._rows = rows
        self._heard = heard
        self._subscriptions: dict[Key, _Subscription[D]] = {}
        self._watchers: dict[str, dict[Key, _Subscription[D]]] = {}
        # An entry counts as long as its subscription still wants to wake then.
        self._wakes: list[tuple[float, int, _Subscription[D]]] = []
        self._serial = count()

    def __len__(self) -> int:
        """
        How many subscriptions there are.
        """
        return len(self._subscriptions)

    def __contains__(self, key: Key) -> bool:
        """
        Whether there is such a subscription.
        """
        return key in self._subscriptions

    def identity(self, key: Key) -> str:
        """
        What a subscription is to.
        """
        return self._subscriptions[key].identity

    def dialog(self, key: Key) -> D:
        """
        What a subscription was made with.
        """
        return self._subscriptions[key].dialog

    def subscribe(self, key: Key, identity: str, dialog: D, seconds: int, now: float) -> list[Notify[D]]:
        """
        Begin to tell a watcher; for 0 seconds, tell it once.

        @raise TooManySubscriptions: There are as many as may be.
        """
        watchers = self._watchers.get(identity, {})
        if len(watchers) >= MOST_OF_ONE:
            raise TooManySubscriptions(403)
        if len(self._subscriptions) >= MOST:
            # Another node may have room.
            raise TooManySubscriptions(503)
        subscription = _Subscription(key, identity, dialog)
        self._subscriptions[key] = subscription
        self._watchers.setdefault(identity, {})[key] = subscription
        self._rows.watched[identity] = self._heard
        return self._extend(subscription, seconds, now)

    def refresh(self, key: Key, seconds: int, now: float) -> list[Notify[D]]:
        """
        Go on to tell a watcher, or, for 0 seconds, end with that.
        """
        return self._extend(self._subscriptions[key], seconds, now)

    def changed(self, identities: Iterable[str], now: float) -> list[Notify[D]]:
        """
        Rows of addresses-of-record changed.
        """
        effects: list[Notify[D]] = []
        for identity in identities:
            for subscription in list(self._watchers.get(identity, {}).values()):
                subscription.has_news = True
                self._look(subscription, now, effects)
        return effects

    def deactivated(self, rows: Iterable[Binding]) -> None:
        """
        Know of rows that we end them, and not their phones; before L{changed}.
        """
        for row in rows:
            for subscription in self._watchers.get(row.identity, {}).values():
                subscription.deactivated.add(contact_id(row))

    def answered(self, key: Key, status: int, now: float) -> list[Notify[D]]:
        """
        A watcher answered its notification, or could not be reached.
        """
        effects: list[Notify[D]] = []
        subscription = self._subscriptions.get(key)
        if subscription is not None:
            if status in _UNWANTED or status in _LOST:
                self._forget(subscription)
            else:
                subscription.is_waiting = False
                self._look(subscription, now, effects)
        return effects

    def end_all(self, now: float) -> list[Notify[D]]:
        """
        Tell all watchers to subscribe elsewhere (RFC 6665 section 4.4.2).
        """
        effects: list[Notify[D]] = []
        for subscription in list(self._subscriptions.values()):
            subscription.end = now
            subscription.reason = "deactivated"
            subscription.is_waiting = False
            self._look(subscription, now, effects)
        return effects

    def next_deadline(self) -> float | None:
        """
        When something is due next.
        """
        wakes = self._wakes
        while wakes and wakes[0][0] != wakes[0][2].wake:
            heappop(wakes)
        return wakes[0][0] if wakes else None

    def deadline_passed(self, now: float) -> list[Notify[D]]:
        """
        Tell those for whom it is time.
        """
        effects: list[Notify[D]] = []
        while (due := self.next_deadline()) is not None and due <= now:
            self._look(self._wakes[0][2], now, effects)
        return effects

    def _extend(self, subscription: _Subscription[D], seconds: int, now: float) -> list[Notify[D]]:
        effects: list[Notify[D]] = []
        subscription.end = now + seconds
        subscription.is_owed = True
        self._look(subscription, now, effects)
        return effects

    def _look(self, subscription: _Subscription[D], now: float, effects: list[Notify[D]]) -> None:
        """
        Tell a watcher if it is time, and see when to look again.
        """
        if subscription.next_look() <= now:
            is_over = subscription.end <= now
            current = self._rows.current(subscription.identity, now)
            contacts, is_news = contacts_now(
                subscription.told,
                current,
                now,
                # What is there when somebody begins to watch has been there for who knows how long.
                since=now if subscription.version else None,
                deactivated=subscription.deactivated,
            )
            subscription.deactivated.clear()
            if is_news or is_over or subscription.is_owed:
                effects.append(_notify(subscription, contacts, now))
            subscription.told = {
                name: contact for name, contact in contacts.items() if not contact.event.is_end
            }
            subscription.has_news = False
            if is_over:
                self._forget(subscription)
                return
        wake = subscription.next_look()
        if wake != subscription.wake:
            subscription.wake = wake
            if wake < inf:
                heappush(self._wakes, (wake, next(self._serial), subscription))
                self._tidy()

    def _tidy(self) -> None:
        """
        Drop the entries that count no more, before they are in the majority.
        """
        if len(self._wakes) > 2 * len(self._subscriptions) + 64:
            self._wakes = [entry for entry in self._wakes if entry[0] == entry[2].wake]
            heapify(self._wakes)

    def _forget(self, subscription: _Subscription[D]) -> None:
        key = subscription.key
        del self._subscriptions[key]
        watchers = self._watchers[subscription.identity]
        del watchers[key]
        if not watchers:
            del self._watchers[subscription.identity]
            del self._rows.watched[subscription.identity]
        subscription.wake = inf


def _notify(subscription: _Subscription[D], contacts: dict[str, Contact], now: float) -> Notify[D]:
    """
    Tell a watcher all there is.
    """
    left = subscription.end - now
    state = (
        f"active;expires={max(round(left), 1)}" if left > 0 else f"terminated;reason={subscription.reason}"
    )
    version = subscription.version
    body = document(subscription.identity, version, contacts, now)
    subscription.version = version + 1
    subscription.told_at = now
    subscription.is_owed = False
    subscription.is_waiting = True
    return Notify(subscription.key, subscription.dialog, version, state, body)
