"""
The dialects in which a row is a struct: the memo's and sipX's.

The memo's is SyncDesign as it was written.  sipX's is what was built after
it, which spells some names otherwise, writes numbers in hexadecimal and
leaves out what has no need of brackets (registry.md 1).  Neither knows pages:
an answer holds all rows, and a push one update.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sipxha.errors import SipxhaError
from sipxha.registry.binding import MARKER, Binding
from sipxha.registry.validate import INT32, RowRefused, validate
from sipxha.sip.address import Address
from sipxha.sync import rpc
from sipxha.sync.dialect import UPDATES, Dialect
from sipxha.sync.numbers import is_number
from sipxha.sync.wire import I8, Fault, HexI8, Value


class Structs(Dialect):
    """
    A dialect of structs.
    """

    texts: ClassVar[tuple[tuple[str, str], ...]]
    """Members that are text, with the columns that they are."""

    extra: ClassVar[tuple[tuple[str, str], ...]]
    """Text that not everybody sends; those who do not know it ignore it."""

    integers: ClassVar[tuple[tuple[str, str], ...]] = (("cseq", "cseq"), ("expires", "expires"))
    row_count: ClassVar[str]
    update_number: ClassVar[str]
    reg_id: ClassVar[str]

    def head(self, page: rpc.Page) -> dict[str, Value]:
        return {self.row_count: len(page.rows)}

    def read_page(self, value: Any, asked: int, now: float) -> rpc.Page:
        if not isinstance(value, dict):
            raise rpc.Malformed("the answer is no struct")
        rows = value.get(UPDATES)
        if not isinstance(rows, list) or value.get(self.row_count) != len(rows):
            raise rpc.Malformed("the answer holds other rows than it says")
        if not all(isinstance(row, Binding) for row in rows):
            raise rpc.Malformed("the answer holds something that is no row")
        return rpc.Page(rows, max((row.update_number for row in rows), default=asked), False)

    def write_row(self, row: Binding, now: float) -> dict[str, Value]:
        members: dict[str, Value] = {member: getattr(row, column) for member, column in self.texts}
        for member, column in self.integers:
            value = getattr(row, column)
            # Seconds outgrow an <int> in 2038, and our own kind takes an <i8> there.
            members[member] = value if value <= INT32 else I8(value)
        members[self.update_number] = self.number(row.update_number)
        for member, column in self.extra:
            members[member] = getattr(row, column)
        if row.reg_id:
            members[self.reg_id] = row.reg_id
        return members

    def read_row(self, value: Any, now: float = 0.0) -> Binding:
        """
        Members that we do not know are ignored.
        """
        if not isinstance(value, dict):
            raise Fault(rpc.INVALID_PARAMETER, "an update is no struct")
        columns: dict[str, Any] = dict.fromkeys(("identity", "received"), "")
        for member, column in self.texts:
            columns[column] = self.text(member, value.get(member))
        for member, column in self.extra:
            columns[column] = self.text(member, value.get(member, ""))
        for member, column in self.integers:
            columns[column] = _integer(value, member)
        columns["update_number"] = _integer(value, self.update_number)
        columns["reg_id"] = _integer(value, self.reg_id) if self.reg_id in value else 0
        columns["primary"] = columns["primary"].lower()
        try:
            if not columns["identity"]:
                columns["identity"] = Address.parse(columns["uri"]).uri.identity()
            row = Binding(**columns)
            validate(row)
        except RowRefused as error:
            raise Fault(
                rpc.UPDATE_FAILED,
                f"update {columns['update_number']} of '{columns['primary'][:255]}': {error}",
            ) from error
        except SipxhaError as error:
            raise Fault(
                rpc.UPDATE_FAILED, f"update {columns['update_number']}: 'uri' is no name-addr"
            ) from error
        if not is_number(row.update_number) or not row.update_number:
            raise Fault(rpc.UPDATE_FAILED, f"{row.update_number} is no update number")
        return row

    def text(self, member: str, value: Value | None) -> str:
        """
        @raise Fault: A member is missing, or no text.
        """
        if not isinstance(value, str):
            raise _bad_member(member)
        return value


def _integer(members: dict[str, Value], member: str) -> int:
    value = members.get(member)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad_member(member)
    return int(value)


def _bad_member(member: str) -> Fault:
    return Fault(rpc.INVALID_PARAMETER, f"'{member}' of an update is missing or invalid type")


class _Memo(Structs):
    name = "memo"
    prefix = "registrarSync"
    row_count = "numUpdates"
    update_number = "updateNumber"
    reg_id = "regId"
    texts = (
        ("uri", "uri"),
        ("callid", "callid"),
        ("contact", "contact"),
        ("qvalue", "qvalue"),
        ("instanceId", "instance_id"),
        ("gruu", "gruu"),
        ("path", "path"),
        ("primary", "primary"),
    )
    extra = (("identity", "identity"), ("received", "received"))


# A URI that needs no brackets, in brackets.
_IN_VAIN = re.compile(r"<([^;?,<>]+)>\Z")


class _SipX(Structs):
    name = "sipX"
    prefix = "registerSync"
    is_chunked = False
    row_count = "num_updates"
    update_number = "update_number"
    reg_id = "reg_id"
    texts = (
        ("uri", "uri"),
        ("callid", "callid"),
        ("contact", "contact"),
        ("qvalue", "qvalue"),
        ("instance_id", "instance_id"),
        ("gruu", "gruu"),
        ("primary", "primary"),
    )
    # The older ones do not know path.
    extra = (("path", "path"), ("identity", "identity"), ("received", "received"))

    def number(self, number: int) -> I8:
        return HexI8(number)

    def write_row(self, row: Binding, now: float) -> dict[str, Value]:
        bare = row._replace(uri=_IN_VAIN.sub(r"\1", row.uri), contact=_IN_VAIN.sub(r"\1", row.contact))
        return {**super().write_row(bare, now), "instrument": ""}

    def read_row(self, value: Any, now: float = 0.0) -> Binding:
        row = super().read_row(value, now)
        # As we would have written it, for the contact is part of the key.
        return row._replace(uri=_bracketed(row.uri), contact=_bracketed(row.contact))

    def text(self, member: str, value: Value | None) -> str:
        # What sipX shows for a null of its database.
        return "" if value == "%" else super().text(member, value)


def _bracketed(text: str) -> str:
    return text if "<" in text or text == MARKER else f"<{text}>"


MEMO = _Memo()
SIPX = _SipX()
