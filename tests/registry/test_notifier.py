"""
Tests for L{sipxha.registry.notifier}: who is told when.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry import notifier
from sipxha.registry.notifier import SPACING, Key, Notifier, Notify, TooManySubscriptions
from sipxha.registry.table import Registry
from tests.registry.rows import NOW, a_registration, an_offer

AOR = "201@example.com"
KEY = ("watch@10.1.1.7", "ours", "theirs", "")


def version(effect: Notify[str]) -> int:
    """
    What the document says.
    """
    found = re.search(r'<reginfo[^>]* version="(\d+)" state="full"', effect.body)
    assert found is not None
    return int(found[1])


class Case(SynchronousTestCase):
    """
    Has a registry and its notifier.
    """

    def setUp(self) -> None:
        self.registry = Registry("sipx1.example.com", 7200)
        self.heard: list[str] = []
        self.notifier: Notifier[str] = Notifier(self.registry, self.heard.append)
        self.cseq = 0

    def subscribe(self, key: Key = KEY, seconds: int = 600, now: float = NOW) -> list[Notify[str]]:
        """
        Watch 201.
        """
        return self.notifier.subscribe(key, AOR, "a dialog", seconds, now)

    def register(self, expires: int = 3600, now: float = NOW) -> list[Notify[str]]:
        """
        Register 201, and tell.
        """
        self.cseq += 1
        self.registry.register(a_registration(an_offer(expires=expires), cseq=self.cseq), now)
        return self.changed(now)

    def changed(self, now: float) -> list[Notify[str]]:
        """
        Tell of what was heard.
        """
        heard, self.heard[:] = set(self.heard), []
        return self.notifier.changed(heard, now)

    def assert_told(self, effects: list[Notify[str]], version: int, state: str, *said: str) -> None:
        """
        One notification, which says this.
        """
        (effect,) = effects
        self.assertEqual((effect.version, effect.state), (version, state))
        for each in said:
            self.assertIn(each, effect.body)


class NotifierTests(Case):
    """
    The life of a subscription.
    """

    def test_E01_a_watcher_is_told_at_once_all_there_is(self) -> None:
        """
        With version 0; also when nothing is registered.
        """
        self.assert_told(
            self.subscribe(), 0, "active;expires=600", 'version="0" state="full"', 'state="init"'
        )
        self.assertEqual((len(self.notifier), KEY in self.notifier), (1, True))

    def test_E02_a_fetch_is_told_once(self) -> None:
        """
        And nothing stays.
        """
        self.register()
        self.assert_told(self.subscribe(seconds=0), 0, "terminated;reason=timeout", 'event="registered"')
        self.assertEqual((len(self.notifier), self.registry.watched), (0, {}))
        self.assertEqual(self.notifier.answered(KEY, 481, NOW), [])
        self.assertIsNone(self.notifier.next_deadline())

    def test_E02_a_refresh_is_told_at_once_and_an_end_too(self) -> None:
        """
        However short ago the last one was.
        """
        self.subscribe()
        self.notifier.answered(KEY, 200, NOW)
        self.assert_told(self.notifier.refresh(KEY, 300, NOW), 1, "active;expires=300")
        self.notifier.answered(KEY, 200, NOW)
        self.assert_told(self.notifier.refresh(KEY, 0, NOW), 2, "terminated;reason=timeout")
        self.assertNotIn(KEY, self.notifier)

    def test_a_change_is_told_at_once_and_the_next_one_later(self) -> None:
        """
        RFC 3680 section 4.10: five seconds apart.
        """
        self.subscribe()
        self.notifier.answered(KEY, 200, NOW)
        later = NOW + SPACING
        self.assert_told(self.register(now=later), 1, "active;expires=595", 'event="registered"')
        self.notifier.answered(KEY, 200, later)
        self.assertEqual(self.register(now=later + 1), [])
        self.assertEqual(self.register(0, now=later + 2), [])
        self.assertEqual(self.notifier.next_deadline(), later + SPACING)
        effects = self.notifier.deadline_passed(later + SPACING)
        self.assert_told(effects, 2, "active;expires=590", 'state="terminated"', 'event="unregistered"')

    def test_what_we_ended_is_told_as_that_once(self) -> None:
        """
        Not what was there again before anybody was told.
        """
        self.register()
        self.subscribe()
        for count, expires, event in ((1, 3600, "refreshed"), (2, 0, "deactivated"), (3, 3600, "registered")):
            now = NOW + count * SPACING
            self.notifier.answered(KEY, 200, now)
            if event != "registered":
                self.notifier.deactivated(self.registry.current(AOR, now))
            self.assert_told(
                self.register(expires, now=now), count, f"active;expires={600 - count * 5}", event
            )
        now += SPACING
        self.notifier.answered(KEY, 200, now)
        effects = self.register(0, now=now)
        self.assert_told(effects, 4, "active;expires=580", 'event="unregistered"', 'duration-registered="5"')

    def test_nothing_is_told_while_an_answer_is_owed(self) -> None:
        """
        All that happens meanwhile is told in one.
        """
        self.subscribe()
        for second in range(10, 30):
            self.assertEqual(self.register(now=NOW + second), [])
        self.assertIsNone(self.notifier.next_deadline())
        self.assert_told(self.notifier.answered(KEY, 200, NOW + 31), 1, "active;expires=569", 'cseq="20"')

    def test_what_changes_nothing_is_not_told(self) -> None:
        """
        A contact that came and went between two notifications.
        """
        self.subscribe()
        self.register()
        self.register(0, now=NOW + 1)
        self.assertEqual(self.notifier.answered(KEY, 200, NOW + SPACING), [])
        self.assertEqual(self.notifier.next_deadline(), NOW + 600)

    def test_the_end_of_a_registration_is_told_when_it_comes(self) -> None:
        """
        No REGISTER and no purge is needed for that.
        """
        self.register(60)
        self.subscribe()
        self.notifier.answered(KEY, 200, NOW)
        self.assertEqual(self.notifier.next_deadline(), NOW + 60)
        self.assert_told(self.notifier.deadline_passed(NOW + 60), 1, "active;expires=540", 'event="expired"')
        self.notifier.answered(KEY, 200, NOW + 60)
        self.assertEqual(self.notifier.next_deadline(), NOW + 600)

    def test_a_subscription_ends_by_time(self) -> None:
        """
        RFC 6665 section 4.2.1.4.
        """
        self.subscribe()
        self.notifier.answered(KEY, 200, NOW)
        self.assert_told(self.notifier.deadline_passed(NOW + 600), 1, "terminated;reason=timeout")
        self.assertEqual((len(self.notifier), self.registry.watched), (0, {}))

    def test_E04_a_watcher_that_refuses_is_told_no_more(self) -> None:
        """
        By each status of RFC 6665 section 4.2.2, and when it cannot be
        reached; what may pass leaves the subscription as it is.
        """
        ends = {404, 405, 408, 410, 416, 430, 480, 481, 482, 483, 484, 485, 489, 501, 503, 604}
        for status in range(200, 700):
            self.subscribe()
            self.assertEqual(self.notifier.answered(KEY, status, NOW), [])
            self.assertEqual(KEY in self.notifier, status not in ends, status)
            if KEY in self.notifier:
                self.notifier.refresh(KEY, 0, NOW)
            self.assertEqual((len(self.notifier), self.registry.watched), (0, {}))
        self.assertIsNone(self.notifier.next_deadline())

    def test_refreshes_leave_nothing_behind(self) -> None:
        """
        However often a subscription is prolonged.
        """
        self.subscribe()
        for second in range(1000):
            self.notifier.answered(KEY, 200, NOW + second)
            self.notifier.refresh(KEY, 600, NOW + second)
        self.assertLess(len(self.notifier._wakes), 100)

    def test_all_are_told_when_the_node_ends(self) -> None:
        """
        RFC 6665 section 4.4.2: so that they come to another one; also those
        that owe an answer.
        """
        self.subscribe()
        self.assert_told(self.notifier.end_all(NOW + 1), 1, "terminated;reason=deactivated")
        self.assertEqual((len(self.notifier), self.registry.watched), (0, {}))
        self.assertIsNone(self.notifier.next_deadline())

    def test_there_is_an_end_to_watchers(self) -> None:
        """
        Of one address-of-record, and of all; those that are there stay.
        """
        for number in range(notifier.MOST_OF_ONE):
            self.subscribe(("watch", str(number), "theirs", ""))
        with self.assertRaises(TooManySubscriptions) as found:
            self.subscribe()
        self.assertEqual(found.exception.status, 403)
        self.patch(notifier, "MOST", notifier.MOST_OF_ONE)
        with self.assertRaises(TooManySubscriptions) as found:
            self.notifier.subscribe(KEY, "202@example.com", "a dialog", 600, NOW)
        self.assertEqual(found.exception.status, 503)
        self.assertEqual((len(self.notifier), list(self.registry.watched)), (notifier.MOST_OF_ONE, [AOR]))


class LawTests(Case):
    """
    What holds whatever happens.
    """

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ("register", "unregister", "answer", "refuse", "refresh", "subscribe", "fetch")
                ),
                st.sampled_from("abc"),
                st.integers(0, 90),
            ),
            max_size=40,
        )
    )
    def test_versions_rise_by_one_and_one_notification_is_on_its_way(
        self, steps: list[tuple[str, str, int]]
    ) -> None:
        """
        For each watcher; what it was told last is what there is, once
        everything is answered and time has passed.
        """
        self.setUp()
        now = NOW
        sent: dict[Key, list[Notify[str]]] = {}
        waiting: set[Key] = set()
        last_told: dict[Key, float] = {}

        def take(effects: list[Notify[str]], owed: bool = False) -> None:
            for effect in effects:
                self.assertNotIn(effect.key, waiting)
                self.assertEqual(version(effect), effect.version)
                self.assertEqual(effect.version, len(sent.setdefault(effect.key, [])))
                sent[effect.key].append(effect)
                if effect.state.startswith("terminated"):
                    self.assertNotIn(effect.key, self.notifier)
                    del sent[effect.key]
                else:
                    waiting.add(effect.key)
                last_told[effect.key] = now

        def pass_time(seconds: float) -> None:
            nonlocal now
            end = now + seconds
            while (due := self.notifier.next_deadline()) is not None and due <= end:
                now = max(now, due)
                take(self.notifier.deadline_passed(now))
            now = end

        for what, name, seconds in steps:
            pass_time(seconds)
            key = ("watch", name, "theirs", "")
            if what in ("register", "unregister"):
                take(self.register(100 * (what == "register"), now))
            elif what in ("answer", "refuse"):
                if key in waiting:
                    waiting.discard(key)
                    take(self.notifier.answered(key, 200 if what == "answer" else 481, now))
                    if what == "refuse":
                        self.assertNotIn(key, self.notifier)
                        del sent[key]
            elif key in self.notifier:
                take(self.notifier.refresh(key, 150 * (what != "fetch"), now))
            else:
                take(self.subscribe(key, 150 * (what != "fetch"), now))
        for key in list(waiting):
            waiting.discard(key)
            take(self.notifier.answered(key, 200, now))
        pass_time(2 * SPACING)
        current = len(self.registry.current(AOR, now))
        for key, effects in sent.items():
            if key not in waiting:
                self.assertEqual(effects[-1].body.count('state="active" event'), current)
        waiting.clear()
        self.assertEqual(set(self.registry.watched), {AOR} if len(self.notifier) else set())
        self.notifier.end_all(now)
        self.assertEqual((len(self.notifier), self.registry.watched), (0, {}))
        self.assertIsNone(self.notifier.next_deadline())
