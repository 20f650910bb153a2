"""
The registry as sipX kept it: C{registration.xml}, of all its generations.

It is written on request and read for migration; the node itself never uses
it.  What sipX has no column for (reg-id, the source address) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

from sipxha.config.sipx import Item, read_table
from sipxha.errors import RemoteError
from sipxha.registry.binding import Binding
from sipxha.registry.domain import ServedDomain
from sipxha.registry.register import contact_text
from sipxha.registry.validate import validate
from sipxha.sip.address import Address

NAMESPACE: Final = "http://www.sipfoundry.org/sipX/schema/xml/registration-00-00"

COLUMNS: Final = (
    "callid",
    "cseq",
    "primary",
    "uri",
    "contact",
    "qvalue",
    "expires",
    "instance_id",
    "gruu",
    "path",
    "update_number",
    "instrument",
)
"""In sipX's order.  The first generation had six of them."""

_QVALUES = ("0", "1", "0.", "1.")
_NOT_NATED = "x-sipx-nonat"
_MINTED_LATER = "-"


class Found(NamedTuple):
    """
    An item of the file.
    """

    line: int
    name: str
    """Whose and where: the URI and the contact, as they stand there."""

    row: Binding | None
    """The row, without primary, number and deadline of its own."""

    problem: str = ""
    """Why it can be none."""


def write_registrations(rows: Iterable[Mapping[str, Any]], now: float) -> Iterator[str]:
    """
    Write rows, in pieces of text.

    @param rows: By the names of the columns of L{Binding}.
    """
    yield '<?xml version="1.0" standalone="yes" ?>\n'
    yield f'<items type="registration" xmlns="{NAMESPACE}" timestamp="{int(now)}">\n'
    for row in rows:
        yield "  <item>\n"
        for column in COLUMNS:
            value = row.get(column, "")
            if column == "update_number":
                value = f"{value:#x}"
            elif column == "uri":
                value = str(Address.parse(value).uri)
            yield f"    <{column}>{escape(str(value))}</{column}>\n" if value != "" else f"    <{column} />\n"
        yield "  </item>\n"
    yield "</items>\n"


def read_registrations(path: Path, domain: ServedDomain) -> Iterator[Found]:
    """
    Read a file item by item.

    @raise sipxha.config.sipx.SipxFileRefused: Where it stops to be one.
    """
    for item in read_table(path, "registration"):
        name = f"{item.get('uri')} {item.get('contact')}"
        try:
            yield Found(item.line, name, _row(item, domain))
        except RemoteError as error:
            yield Found(item.line, name, None, str(error))
        except _Unfit as unfit:
            yield Found(item.line, name, None, str(unfit))


class _Unfit(Exception):
    """
    An item is no registration of ours.
    """


def _row(item: Item, domain: ServedDomain) -> Binding:
    uri = Address.parse(item.get("uri")).uri
    identity = domain.identity(uri)
    if identity is None:
        raise _Unfit(f"{uri} is no user of {domain.name}")
    text = item.get("contact")
    # Of a contact without brackets all parameters are the URI's: sipX split off the others.
    contact = Address.parse(text if "<" in text else f"<{text}>")
    # The mark of its proxy that no NAT was on the way; the phone will not send it.
    without = contact.uri.params.without(_NOT_NATED)
    contact = contact._replace(uri=contact.uri.replace(params=without), raw="")
    qvalue = item.get("qvalue")
    row = Binding(
        uri=f"<{uri.bare()}>",
        identity=identity,
        contact=contact_text(contact),
        qvalue=qvalue if qvalue[:2] in _QVALUES else "",
        callid=item.get("callid"),
        cseq=_number(item, "cseq"),
        expires=_number(item, "expires"),
        instance_id=item.get("instance_id").strip('"'),
        reg_id=0,
        # Its GRUUs are not ours; the next REGISTER of the phone is given one.
        gruu="",
        path=item.get("path"),
        received="",
        primary=_MINTED_LATER,
        update_number=0,
    )
    validate(row)
    return row


def _number(item: Item, column: str) -> int:
    text = item.get(column)
    try:
        return int(text or "0", 16 if text.startswith("0x") else 10)
    except ValueError:
        raise _Unfit(f"{column} {text!r} is not a number") from None
