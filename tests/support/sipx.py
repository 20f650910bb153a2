"""
Files as the releases of sipXpbx wrote them, written by hand.
"""

from __future__ import annotations

NAMESPACE = "http://www.sipfoundry.org/sipX/schema/xml/registration-00-00"

EXPIRES = 1_140_820_000

FIRST = f"""<?xml version="1.0" standalone="yes" ?>
<items type="registration" timestamp="1140817000">
  <item>
    <callid>f00d@10.1.1.7</callid>
    <cseq>17</cseq>
    <uri>sip:201@example.com</uri>
    <contact>&lt;sip:201@10.1.1.7:5060;transport=tcp&gt;</contact>
    <qvalue>0.9</qvalue>
    <expires>{EXPIRES}</expires>
  </item>
</items>
"""
"""Before there was a second registrar."""

SECOND = f"""<?xml version="1.0" standalone="yes" ?>
<items type="registration" timestamp="1140817000">
  <item>
    <callid>f00d@10.1.1.7</callid> <cseq>17</cseq> <primary>two.example.com</primary>
    <uri>sip:201@example.com</uri> <contact>sip:201@10.1.1.7:5060;transport=tcp</contact>
    <qvalue>%</qvalue> <expires>{EXPIRES}</expires> <instance_id></instance_id> <gruu />
    <update_number>4899921226389684227</update_number>
  </item>
</items>
"""
"""2007: primaries and numbers; nothing is a percent sign."""

THIRD = f"""<?xml version="1.0" standalone="yes" ?>
<items type="registration" xmlns="{NAMESPACE}" timestamp="1140817000">
  <item>
    <callid>f00d@10.1.1.7</callid> <cseq>17</cseq> <primary>two.example.com</primary>
    <uri>&lt;sip:201@example.com&gt;</uri>
    <contact>"Ann" &lt;sip:201@10.1.1.7:5060;transport=tcp;x-sipX-nonat&gt;;+foo=bar</contact>
    <qvalue /> <expires>{EXPIRES}</expires>
    <instance_id>"&lt;urn:uuid:00000000-0000-1000-8000-000A95A0E128&gt;"</instance_id>
    <gruu>~~gr~0123456789abcdef@example.com;gr</gruu>
    <path>&lt;sip:edge.example.com;lr&gt;</path>
    <update_number>0x43ff5a2700000003</update_number> <instrument />
  </item>
</items>
"""
"""2009: namespace, path, instrument."""


def table(kind: str, *items: dict[str, str]) -> str:
    """
    Another table, one item a line.
    """
    lines = [
        "<item>" + "".join(f"<{name}>{text}</{name}>" for name, text in item.items()) + "</item>"
        for item in items
    ]
    return "\n".join([f'<items type="{kind}">', *lines, "</items>", ""])
