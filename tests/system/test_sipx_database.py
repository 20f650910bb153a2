"""
The database of a sipX server that we take over: its proxies go on writing, the
reports that its users have go on reading, and the rows between are ours.
"""

from __future__ import annotations

from random import Random
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from sipxha.cdr.event import CallStateEvent
from sipxha.config.model import CallResolver, CseHost
from sipxha.services.call_resolver import PassReport, run_pass
from sipxha.services.cse_hosts import Places
from sipxha.store.pool import Pool
from sipxha.store.schema import CDR, CSE, upgrade
from tests.support.cse_host import execute
from tests.support.made_calls import TOLD, in_order, made_calls
from tests.support.postgres import PostgresForTests

# Version 7 of sipX's schema, the last one (calls.md 1.1, 2).
VERSION_7 = """
CREATE TABLE version_history (version int4 NOT NULL PRIMARY KEY, applied date NOT NULL);
INSERT INTO version_history VALUES (1, '2006-01-01'), (7, '2010-08-01');
CREATE TABLE patch (name varchar(32) NOT NULL PRIMARY KEY);
CREATE TABLE call_state_events (
    id serial8 NOT NULL PRIMARY KEY, observer text NOT NULL, event_seq int8 NOT NULL,
    event_time timestamp NOT NULL, event_type char(1) NOT NULL, cseq int4 NOT NULL, call_id text NOT NULL,
    from_tag text, to_tag text, from_url text NOT NULL, to_url text NOT NULL, contact text, refer_to text,
    referred_by text, failure_status int2, failure_reason text, request_uri text, reference text,
    caller_internal boolean, callee_route text, branch_id text, via_count int2
);
CREATE INDEX call_state_events_event_time ON call_state_events (event_time);
CREATE TABLE observer_state_events (
    id serial8 NOT NULL PRIMARY KEY, observer text NOT NULL, event_seq int8 NOT NULL,
    event_time timestamp NOT NULL, status int2 NOT NULL, msg text
);
CREATE TABLE cdrs (
    id serial8 NOT NULL PRIMARY KEY, call_id text NOT NULL, from_tag text NOT NULL, to_tag text NOT NULL,
    caller_aor text NOT NULL, callee_aor text NOT NULL, start_time timestamp, connect_time timestamp,
    end_time timestamp, termination char(1), failure_status int2, failure_reason text,
    call_direction char(1), reference text, caller_contact text, callee_contact text,
    caller_internal boolean, callee_route text
);
ALTER TABLE cdrs ADD CONSTRAINT cdrs_call_id_unique UNIQUE (call_id);
CREATE INDEX cdrs_call_id_index ON cdrs (call_id);
CREATE INDEX cdrs_start_time_idx ON cdrs (start_time);
CREATE VIEW view_cdrs AS
    SELECT id, caller_aor, callee_aor, start_time, connect_time, end_time,
           end_time - connect_time AS duration, termination, failure_status, failure_reason, call_direction
      FROM cdrs;
"""

REPORTS_MAY = """
CREATE ROLE cdrremote LOGIN;
GRANT SELECT ON cdrs, view_cdrs TO cdrremote;
"""

REPORT = """
SELECT id, caller_aor, callee_aor, start_time, connect_time, end_time, extract(epoch FROM duration)::float8,
       termination, failure_status, failure_reason, call_direction
  FROM view_cdrs WHERE start_time >= '2023-11-14' AND start_time < '2023-11-16' AND termination = 'C'
 ORDER BY start_time
"""

# What its resolver writes: 17 columns.
ITS_RECORD = """
INSERT INTO cdrs (call_id, from_tag, to_tag, caller_aor, callee_aor, start_time, connect_time, end_time,
    termination, failure_status, failure_reason, call_direction, reference, caller_contact, callee_contact,
    caller_internal, callee_route)
VALUES ('its', 'a', 'b', '<sip:a@x>', '<sip:b@x>', '2023-11-14 12:00', '2023-11-14 12:01',
    '2023-11-14 12:02', 'C', NULL, NULL, NULL, NULL, NULL, NULL, true, 'INT')
"""


def written_by_sipx(event: CallStateEvent, columns: int = 22) -> tuple[str, list[Any]]:
    """
    An INSERT as its proxies make them: by position, and what is absent is empty or 0.

    @param columns: How many the table had when the proxy was built.
    """
    values: list[Any] = []
    for name, value in zip(CallStateEvent._fields, event, strict=True):
        if value is None and name != "caller_internal":
            value = 0 if name in ("failure_status", "via_count") else ""
        values.append(value)
    places = [
        "to_timestamp(%s) AT TIME ZONE 'UTC'" if value == event.event_time else "%s" for value in values
    ]
    told = columns - 1
    return f"INSERT INTO call_state_events VALUES (DEFAULT, {', '.join(places[:told])})", values[:told]


class SipxDatabaseTests(TestCase):
    """
    Tests against a database as sipX left it.
    """

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]
        """
        Take it over.
        """
        server = PostgresForTests.shared()
        self.dsn = server.fresh()
        if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'cdrremote'"):
            server.execute(REPORTS_MAY.partition(";")[0])
        execute(self.dsn, VERSION_7 + REPORTS_MAY.partition(";")[2])
        self.pool = Pool(reactor, self.dsn)
        self.addCleanup(self.pool.close)
        return upgrade(self.pool, (CSE, CDR))

    def write(self, events: list[CallStateEvent], columns: int = 22) -> None:
        """
        Have its proxies write events.
        """
        connection = psycopg2.connect(self.dsn)
        try:
            with connection, connection.cursor() as cursor:
                for event in events:
                    cursor.execute(*written_by_sipx(event, columns))
        finally:
            connection.close()

    def run_pass(self) -> Deferred[PassReport]:
        """
        Run one.
        """
        config = CallResolver(self.dsn, (CseHost("localhost", 5432),), None)
        places = Places(config, self.dsn, self.dsn, None, lambda name: succeed([]))
        return run_pass(reactor, places)

    async def test_what_its_proxies_write_is_the_truth(self) -> None:
        """
        Absent values are absent, whatever they look like.
        """
        calls = list(made_calls(Random(11), 150))
        self.write([seen.event for seen in in_order(iter(calls))])
        report = await self.run_pass()
        self.assertEqual((report.written, report.dead_letters), (len(calls), 0))
        columns = ", ".join(
            f"extract(epoch FROM {name})::float8" if name.endswith("_time") else name for name in TOLD
        )
        found = {row[0]: row for row in execute(self.dsn, f"SELECT {columns} FROM cdrs")}
        for call in calls:
            told = call.judged._asdict()
            del told["as_of"]
            self.assertEqual(found[call.truth.call_id], tuple(told.values()))

    async def test_proxies_of_2006_write_fewer_columns(self) -> None:
        """
        Those at the end are absent then, and so is what only they tell.
        """
        calls = [call for call in made_calls(Random(11), 40) if call.truth.termination == "C"]
        self.write([seen.event for call in calls for seen in call.seen], 17)
        await self.run_pass()
        found = dict(execute(self.dsn, "SELECT call_id, (termination, caller_internal)::text FROM cdrs"))
        self.assertEqual(found, {call.truth.call_id: "(C,)" for call in calls})

    async def test_reports_of_its_users_go_on(self) -> None:
        """
        By their old names and rights, over its records and ours; they see neither calls that are up nor
        our other tables.
        """
        execute(self.dsn, ITS_RECORD)
        calls = list(made_calls(Random(11), 150))
        self.write([seen.event for seen in in_order(iter(calls))])
        await self.run_pass()
        reader = self.dsn.replace("user=postgres", "user=cdrremote")
        rows = execute(reader, REPORT)
        completed = [
            call.truth
            for call in calls
            if call.truth.termination == "C" and call.truth.start_time is not None
        ]
        self.assertEqual(len(rows), len(completed) + 1)
        self.assertEqual(rows[0][6:8], (60.0, "C"))
        lengths = sorted(round(row[6], 3) for row in rows[1:] if row[6] is not None)
        self.assertEqual(
            lengths,
            sorted(
                round(record.end_time - record.connect_time, 3)
                for record in completed
                if record.connect_time is not None and record.end_time is not None
            ),
        )
        self.assertEqual(len(execute(reader, "SELECT * FROM cdrs")), len(calls) + 1)
        with self.assertRaises(psycopg2.errors.InsufficientPrivilege):
            execute(reader, "SELECT * FROM resolver_events")

    async def test_its_columns_stay_where_they_were(self) -> None:
        """
        Ours come after them.
        """
        columns = "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
        for table, last in (("call_state_events", "via_count"), ("cdrs", "callee_route")):
            before = VERSION_7.partition(f"CREATE TABLE {table} (")[2].partition(");")[0]
            names = [part.split()[0] for part in before.split(",")]
            self.assertEqual(names[-1], last)
            now = [row[0] for row in execute(self.dsn, columns, table)]
            self.assertEqual(now[: len(names)], names)
        self.assertEqual(await upgrade(self.pool, (CSE, CDR)), [])
