"""
What a node records of calls: every column, whatever the text, and each event
once, whoever dies meanwhile.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimedOut

from sipxha.cli.status import ask
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from tests.support.cse_host import execute
from tests.support.disk import mute_disk
from tests.support.phone import CallFailed
from tests.system.servers import PairTestCase, Server, is_alive, reactor, until

COLUMNS = (
    *("observer", "event_type", "cseq", "call_id", "from_tag", "to_tag", "from_url", "to_url", "contact"),
    *("refer_to", "referred_by", "failure_status", "failure_reason", "request_uri", "reference"),
    *("caller_internal", "callee_route", "branch_id", "via_count"),
)
"""All but those that only time decides: id, event_seq, event_time."""

HOSTILE = "O'Brien \\'); DROP TABLE call_state_events; -- %s %(x)s {0} \x01\x7f ü 漢 \U0001f4de"
"""What somebody may call themselves."""

LIMIT = 4.0
"""Seconds after which a call through a node that dies is given up."""


def dsn(node: Server) -> str:
    """
    The database of a node.
    """
    return f"host={node.folder}/data/pg port=5432 user=postgres dbname=SIPXCDR"


def rows_of(node: Server, call_id: str) -> list[dict[str, Any]]:
    """
    The events of a call, in order, without what is absent.
    """
    sql = f"SELECT {', '.join(COLUMNS)} FROM call_state_events WHERE call_id = %s ORDER BY event_time, id"
    return [
        {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}
        for row in execute(dsn(node), sql, call_id)
    ]


def starts_of(node: Server) -> Counter[str]:
    """
    How often each observer of a node has said that it began.
    """
    try:
        rows = execute(dsn(node), "SELECT observer, status FROM observer_state_events")
    except psycopg2.Error:
        return Counter()
    return Counter(row[0] for row in rows if row[1] == 101)


def postmaster(node: Server) -> int:
    """
    The process of a node's database.
    """
    path = node.folder / "data" / "pg" / "cluster" / "postmaster.pid"
    return int(path.read_text().split()[0])


class _EventsTestCase(PairTestCase):
    """
    Two phones, and the events of the node between them.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        """
        One calls the other through the first node, whose database runs.
        """
        await super().setUp()
        self.caller = await self.registered(self.east)
        self.called = await self.registered(self.west)
        await until(lambda: bool(starts_of(self.east)), "the database does not run")

    async def recorded(self, call_id: str, types: str) -> None:
        """
        The events of a call are these, each once.
        """
        await until(
            lambda: self.east.events(call_id) == types,
            f"{call_id}: events {self.east.events(call_id)!r}, not {types!r}",
            40,
        )

    async def one_call(self) -> str:
        """
        @return: the Call-ID of a call that was set up and hung up.
        """
        call = await self.caller.call(self.called.aor, through=self.east.address)
        self.assertEqual((await call.hang_up()).status, 200)
        return call.call_id

    def trouble(self) -> str:
        """
        What C{sipxha status} says is missing.
        """
        state: dict[str, Any] = ask(self.east.config, "/status")
        return state["trouble"] or ""


class ColumnTests(_EventsTestCase):
    """
    Tests for what is in each column.
    """

    async def test_a_call_that_is_transferred(self) -> None:
        """
        R, S, T and E have what belongs to them, and NULL in the rest.
        """
        more = (("references", "other@h;rel=chain"), ("replaces", "third@h;to-tag=a;from-tag=b"))
        call = await self.caller.call(self.called.aor, None, self.east.address, *more)
        refer = call.request("REFER")
        refer.add("refer-to", "<sip:somebody@example.net>")
        refer.add("referred-by", f"<{self.caller.aor}>")
        self.assertEqual((await self.caller.exchange(refer, call.first_hop())).status, 200)
        self.assertEqual((await call.hang_up()).status, 200)
        await self.recorded(call.call_id, "RSTE")

        (request,) = self.called.rung
        to_tag = call.remote.partition("tag=")[2]
        both = {
            "call_id": call.call_id,
            "from_tag": call.local.partition("tag=")[2],
            "from_url": call.local,
        }
        dialog = {**both, "to_tag": to_tag, "to_url": call.remote}
        door, inner = f"{self.east.address}:5060", f"{self.east.address}:5080"
        r, s, t, e = rows_of(self.east, call.call_id)
        self.assertEqual(
            r,
            {
                **both,
                "observer": door,
                "event_type": "R",
                "cseq": 2,
                "to_url": f"<{self.called.aor}>",
                "contact": f"<{self.caller.contact}>",
                "request_uri": self.called.aor,
                "reference": "other@h;rel=chain,third@h;rel=xfer",
                "caller_internal": True,
                "branch_id": request.vias[-1].branch,
                "via_count": 1,
            },
        )
        self.assertEqual(
            s,
            {
                **dialog,
                "observer": inner,
                "event_type": "S",
                "cseq": 2,
                "contact": f"<{self.called.contact}>",
                "branch_id": request.vias[1].branch,
                "via_count": 2,
            },
        )
        self.assertEqual(
            t,
            {
                **dialog,
                "observer": inner,
                "event_type": "T",
                "cseq": refer.cseq.number,
                "contact": f"<{self.caller.contact}>",
                "refer_to": "<sip:somebody@example.net>",
                "referred_by": f"<{self.caller.aor}>",
                "request_uri": call.target,
            },
        )
        self.assertEqual(e, {**dialog, "observer": inner, "event_type": "E", "cseq": refer.cseq.number + 1})

    async def test_hostile_text_is_stored_as_it_was_sent(self) -> None:
        """
        In every field that a stranger fills; a byte that is no UTF-8 is shown.
        """
        reason = "Won't \\'; DROP TABLE cdrs; -- %s"

        def refuses(request: Request) -> Response:
            return response_to(request, 480, reason, to_tag="it's')--")

        self.called.answers = refuses
        name = f'"{HOSTILE} \udcff"'.replace("\\", "\\\\")
        tag = "x'--"
        contact = f"{name} <{self.caller.contact}>"
        call_id = "it's-);--%s@example.com"
        fields = [
            ("max-forwards", "70"),
            ("from", f"{name} <{self.caller.aor}>;tag={tag}"),
            ("to", f"{name} <{self.called.aor}>"),
            ("call-id", call_id),
            ("cseq", "1 INVITE"),
            ("contact", contact),
            ("references", "a'b@h;rel=chain"),
        ]
        request = Request("INVITE", self.called.aor, fields)
        response = await self.caller.send(request, self.caller.server(self.east.address))
        self.assertEqual((response.status, response.reason), (480, reason))
        await self.recorded(call_id, "RF")
        shown = name.replace("\udcff", "\\xff")
        r, f = rows_of(self.east, call_id)
        self.assertEqual(r["from_url"], f"{shown} <{self.caller.aor}>;tag={tag}")
        self.assertEqual(r["to_url"], f"{shown} <{self.called.aor}>")
        self.assertEqual(r["contact"], f"{shown} <{self.caller.contact}>")
        self.assertEqual((r["from_tag"], r["reference"]), (tag, "a'b@h;rel=chain"))
        self.assertEqual((f["failure_status"], f["failure_reason"]), (480, reason))
        self.assertEqual(f["to_tag"], "it's')--")


class DeathTests(_EventsTestCase):
    """
    Tests for events that are on their way when something dies.
    """

    timeout = 240

    async def test_the_node_is_killed(self) -> None:
        """
        What it has not written yet, its next life does.
        """
        await self.survive(self.east.kill)

    async def test_the_database_is_killed(self) -> None:
        """
        The node starts it again, and does not know what of its last batch was
        committed; the database does.
        """
        await self.survive(self.kill_database)

    async def test_both_are_killed(self) -> None:
        """
        As when the power goes.
        """

        def both() -> None:
            self.east.kill()
            self.kill_database()

        await self.survive(both)

    def kill_database(self) -> None:
        """
        kill -9 of the postmaster and all that work for it.
        """
        pid = postmaster(self.east)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)

    async def survive(self, kill: Callable[[], None]) -> None:
        """
        Kill in the middle of calls, three times; all those that were made have
        their events once, and each life of the observers began once.
        """
        starts = starts_of(self.east)
        lives = 0
        completed: list[str] = []
        for round_ in range(3):
            open_calls = [Deferred.fromCoroutine(self.try_call(completed)) for _ in range(8)]
            await until(lambda made=round_ * 8: len(completed) > made // 2, "no call is made")  # type: ignore[misc]
            kill()
            await DeferredList(open_calls)
            if not self.east.is_running:
                lives += 1
                await self.east.start()
            completed.append(await self.one_call())
        for call_id in completed:
            await self.recorded(call_id, "RSE")
        for observer in (f"{self.east.address}:5060", f"{self.east.address}:5080"):
            self.assertEqual(starts_of(self.east)[observer], starts[observer] + lives)

    async def try_call(self, completed: list[str]) -> None:
        """
        A call that need not come off.
        """
        calling = self.caller.call(self.called.aor, through=self.east.address)
        try:
            call = await calling.addTimeout(LIMIT, reactor)
            response = await call.hang_up().addTimeout(LIMIT, reactor)
        except (CallFailed, DeferredTimedOut):
            return
        if response.status == 200:
            completed.append(call.call_id)

    async def test_a_record_that_was_torn(self) -> None:
        """
        The last one was half on the disk when the power went: it costs itself.
        """
        before = await self.one_call()
        self.east.kill()
        self.kill_database()
        segments = sorted((self.east.folder / "data" / "journal").glob("*.journal"))
        with segments[-1].open("ab") as file:
            file.write(b'\0\0\1\0\x12\x34\x56\x78E["10.1.1')
        await self.east.start()
        await self.east.line_with("bytes are no record and were cut")
        after = await self.one_call()
        for call_id in (before, after):
            await self.recorded(call_id, "RSE")


class SlowTests(_EventsTestCase):
    """
    Tests for a database that does not answer, and a disk that takes nothing.
    """

    async def test_a_database_that_stands_still_holds_up_no_call(self) -> None:
        """
        Its processes are stopped; the events come when it goes on.
        """
        pid = postmaster(self.east)
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for each in (pid, *children):
            os.kill(each, signal.SIGSTOP)
        try:
            calls = [await self.one_call() for _ in range(20)]
        finally:
            for each in (*children, pid):
                if is_alive(each):
                    os.kill(each, signal.SIGCONT)
        for call_id in calls:
            await self.recorded(call_id, "RSE")

    async def test_a_table_that_is_locked_holds_up_no_call(self) -> None:
        """
        By somebody who sleeps in a transaction.
        """
        connection = psycopg2.connect(dsn(self.east))
        self.addCleanup(connection.close)
        with connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLE call_state_events IN ACCESS EXCLUSIVE MODE")
            calls = [await self.one_call() for _ in range(20)]
        for call_id in calls:
            await self.recorded(call_id, "RSE")

    async def test_a_database_that_is_slow_holds_up_no_call(self) -> None:
        """
        Each row takes it a quarter of a second; all of them get there once.
        """
        slow = (
            "CREATE FUNCTION slow() RETURNS trigger AS "
            "$$ BEGIN PERFORM pg_sleep(0.25); RETURN NEW; END $$ LANGUAGE plpgsql"
        )
        connection = psycopg2.connect(dsn(self.east))
        connection.autocommit = True
        self.addCleanup(connection.close)
        with connection.cursor() as cursor:
            self.addCleanup(execute, dsn(self.east), "DROP FUNCTION slow CASCADE")
            cursor.execute(slow)
            cursor.execute(
                "CREATE TRIGGER slow BEFORE INSERT ON call_state_events FOR EACH ROW EXECUTE FUNCTION slow()"
            )
        calls = [await self.one_call() for _ in range(10)]
        for call_id in calls:
            await self.recorded(call_id, "RSE")

    async def test_a_full_disk_costs_events_and_no_call(self) -> None:
        """
        Each lost one is counted, and the status says so; when there is room
        again events are recorded as before.
        """
        with mute_disk(self.east.pid):
            lost = await self.one_call()
            self.assertIn("3 call events were lost", self.trouble())
        kept = await self.one_call()
        await self.recorded(kept, "RSE")
        self.assertEqual(self.east.events(lost), "")
        # What was lost is told until the node is started again.
        await self.east.stop()
        await self.east.start()
        self.assertNotIn("lost", self.trouble())
