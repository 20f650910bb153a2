"""
Somebody calls for help when nothing works.
"""

from __future__ import annotations

from sipxha.cli.status import ask
from tests.support.pair import DOMAIN
from tests.system.servers import PairTestCase

RULES = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/fallback-00-00">
  <hostMatch>
    <hostPattern>{domain}</hostPattern>
    <userMatch>
      <userPattern>112</userPattern>
      <permissionMatch>{transforms}</permissionMatch>
    </userMatch>
  </hostMatch>
</mappings>
"""

PERMISSIONS = """\
<mappings xmlns="http://www.sipfoundry.org/sipX/schema/xml/urlauth-00-00">
  <hostMatch>
    <hostPattern>{gateway}</hostPattern>
    <userMatch><userPattern>.</userPattern><permissionMatch><permission>NoAccess</permission></permissionMatch></userMatch>
  </hostMatch>
</mappings>
"""


class EmergencyTests(PairTestCase):
    """
    A node that is alone.
    """

    async def test_help_is_reached_when_all_else_is_gone(self) -> None:
        """
        From a phone that nobody knows, with the other node, the database and
        two gateways dead, to a gateway that nobody may dial.  The call goes on
        like any other, also when the dead gateways are in quarantine.
        """
        gateway = self.phone()
        gateways = [f"{self.pair.network}.250;transport=tcp", f"{self.pair.network}.251", gateway.address]
        transforms = "".join(f"<transform><url>&lt;sip:112@{each}&gt;</url></transform>" for each in gateways)
        rules = self.east.folder / "fallbackrules.xml"
        self.change(rules, RULES.format(domain=DOMAIN, transforms=transforms))
        self.change(self.east.folder / "authrules.xml", PERMISSIONS.format(gateway=gateway.address))
        text = self.east.config.read_text()
        self.change(self.east.config, text.replace("</sipxha>", "<emergency>112 911</emergency></sipxha>"))
        await self.east.stop()
        await self.east.start()
        self.west.kill()
        self.east.kill_database()
        logged = self.east.logged
        stranger = self.phone(user="nobody", password="wrong")
        for _ in range(2):
            call = await stranger.call(f"sip:112@{self.east.address}", through=self.east.address)
            self.assertEqual(gateway.rung[-1].uri, f"sip:112@{gateway.address}")
            response = await call.hang_up()
            self.assertEqual(response.status, 200)
        warnings = [line for line in self.east.lines_after(logged) if "emergency call to 112" in line]
        self.assertEqual(len(warnings), 2)
        self.assertEqual(ask(self.east.config, "/status")["emergency_calls"], 2)
