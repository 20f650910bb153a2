"""
What reports are made of, from a call to a file.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from pyarrow import parquet

from tests.support.pair import run, sipxha
from tests.system.servers import PairTestCase, reactor, until


class ReportTests(PairTestCase):
    """
    Tests with a gateway, which is a phone's address.
    """

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """
        What C{sipxha cdr list} tells.
        """
        out = await sipxha(reactor, "cdr", "list", "--json", *arguments, "--config", str(self.east.config))
        rows: list[dict[str, Any]] = json.loads(out)
        return rows

    async def test_a_call_to_a_gateway_goes_out(self) -> None:
        """
        With who hung up, over what each side is reached, and how long it rang; in every format.
        """
        caller = await self.registered(self.west, "tcp")
        gateway = await self.registered(self.east)
        await self.east.stop()
        text = self.east.config.read_text()
        begin, end = text.index("<domain "), text.index("/>", text.index("<domain "))
        domain = f"{text[begin:end]}><gateways>gone.example.net, {gateway.address}</gateways></domain>"
        self.change(self.east.config, text[:begin] + domain + text[end + 2 :])
        await self.east.start()
        await self.pair.level()
        call = await caller.call(gateway.aor, through=self.east.address)
        answered = gateway.calls[call.call_id]
        self.assertEqual((await answered.hang_up()).status, 200)
        await until(lambda: self.east.events(call.call_id) == "RSE", "it is not in the database")
        _, _, err = await run(reactor, "sipxha", "resolve", "--redo", "--config", str(self.east.config))
        self.assertIn("gateway gone.example.net is not found: ", err)
        (row,) = [row for row in await self.rows("--user", caller.user) if row["call_id"] == call.call_id]
        told = [row[name] for name in ("call_direction", "call_type", "hung_up_by", "termination")]
        self.assertEqual(told, ["O", "outgoing", "callee", "C"])
        self.assertEqual((row["caller_transport"], row["callee_transport"]), ("tcp", "udp"))
        self.assertGreaterEqual(row["ring_time"], 0)
        self.assertEqual(await self.rows("--user", caller.user, "--status", "failed"), [])

        command = ["sipxha", "cdr", "export", "--user", caller.user, "--config", str(self.east.config)]
        _, out, _ = await run(reactor, *command, "--format", "csv")
        (told_by_csv,) = csv.DictReader(io.StringIO(out))
        self.assertEqual(told_by_csv["call_id"], call.call_id)
        path = self.east.folder / "calls.parquet"
        self.addCleanup(path.unlink)
        await run(reactor, *command, "--format", "parquet", "--output", str(path))
        self.assertEqual(parquet.read_table(path).to_pylist()[0]["call_type"], "outgoing")
