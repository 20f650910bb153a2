"""
What registrars say to each other: methods, shapes and fault codes.

One table for both ends.  A dialect is a row of L{DIALECTS}: a prefix for its
methods and the names of the members of a row; the engine speaks of L{Pull},
L{Reset} and L{Push} and never sees a wire name.  Nothing here decides
whether a call is granted.

SyncDesign 5.8, design 5.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from sipxha.errors import SipxhaError
from sipxha.registry.binding import Binding
from sipxha.registry.validate import RowRefused, validate
from sipxha.sip.address import Address
from sipxha.sync.numbers import is_number
from sipxha.sync.wire import I8, Fault, Value

# --- fault codes ------------------------------------------------------------

UNKNOWN_METHOD = -3
AUTHENTICATION = -4
UNCONFIGURED_PEER = 300
UNREACHABLE_PEER = 301
INVALID_PARAMETER = 302
UPDATE_FAILED = 304
OUT_OF_ORDER = 305
MIXED_NUMBERS = 306
INCOMPATIBLE_PEER = 307

# --- what is said -----------------------------------------------------------


class Pull(NamedTuple):
    """
    Give me the rows of C{primary} that are newer than C{number} (SyncDesign 5.8.1).
    """

    primary: str
    number: int


class Reset(NamedTuple):
    """
    This is the last of your updates that I have; what is the last of mine? (SyncDesign 5.8.2)
    """

    number: int


class Push(NamedTuple):
    """
    All rows of my next update after C{last_sent} (SyncDesign 5.8.3).
    """

    last_sent: int
    rows: Sequence[Binding]


Call: TypeAlias = Pull | Reset | Push


class Dialect(NamedTuple):
    """
    How one generation of registrars spells its calls.
    """

    name: str
    pull: str
    reset: str
    push: str
    row_count: str
    """The member of a pull's answer that says how many rows there are."""

    texts: tuple[tuple[str, str], ...]
    """Members of a row that are text, with the columns that they are."""

    integers: tuple[tuple[str, str], ...]
    """Members of a row that are C{<int>}, with their columns."""

    extra: tuple[tuple[str, str], ...]
    """Text that only our own kind sends; others ignore it."""

    update_number: str


MEMO = Dialect(
    name="memo",
    pull="registrarSync.pullUpdates",
    reset="registrarSync.reset",
    push="registrarSync.pushUpdates",
    row_count="numUpdates",
    texts=(
        ("uri", "uri"),
        ("callid", "callid"),
        ("contact", "contact"),
        ("qvalue", "qvalue"),
        ("instanceId", "instance_id"),
        ("gruu", "gruu"),
        ("path", "path"),
        ("primary", "primary"),
    ),
    integers=(("cseq", "cseq"), ("expires", "expires")),
    extra=(("identity", "identity"), ("received", "received")),
    update_number="updateNumber",
)
"""SyncDesign as it was written."""

DIALECTS = (MEMO,)

_UPDATES = "updates"
_REG_ID = "regId"
_INT_MOST = (1 << 31) - 1

METHODS: dict[str, tuple[Dialect, type[Call]]] = {
    method: (dialect, kind)
    for dialect in DIALECTS
    for method, kind in ((dialect.pull, Pull), (dialect.reset, Reset), (dialect.push, Push))
}
"""Every method that we answer."""

# --- calls ------------------------------------------------------------------


def write_call(dialect: Dialect, caller: str, call: Call) -> tuple[str, list[Value]]:
    """
    The method and the parameters of a call that we make.
    """
    if isinstance(call, Pull):
        return dialect.pull, [caller, call.primary, I8(call.number)]
    if isinstance(call, Reset):
        return dialect.reset, [caller, I8(call.number)]
    return dialect.push, [caller, I8(call.last_sent), [write_row(dialect, row) for row in call.rows]]


def caller_of(params: Sequence[Value]) -> str:
    """
    Who calls, in lower case.

    @raise Fault: The first parameter is not a name.
    """
    if not params or not isinstance(params[0], str) or not params[0]:
        raise Fault(INVALID_PARAMETER, "'callingRegistrar' parameter is missing or invalid type")
    return params[0].lower()


def is_known(method: str) -> None:
    """
    @raise Fault: We have no such method.
    """
    if method not in METHODS:
        raise Fault(UNKNOWN_METHOD, "Method has not been registered")


def read_call(method: str, params: Sequence[Value]) -> Call:
    """
    What a peer asks of us.  Form is checked here, sense is not.

    @raise Fault: 302, or 304 where a row can be no row of the registry.
    """
    dialect, kind = METHODS[method]
    if kind is Pull:
        return Pull(
            _text(method, params, 1, "primaryRegistrar").lower(), _number(method, params, 2, "updateNumber")
        )
    if kind is Reset:
        return Reset(_number(method, params, 1, "updateNumber"))
    last_sent = _number(method, params, 1, "lastSentUpdateNumber")
    updates = params[2] if len(params) > 2 else None
    if not isinstance(updates, list) or not updates:
        raise _invalid(method, _UPDATES)
    rows = []
    for update in updates:
        if not isinstance(update, dict):
            raise _invalid(method, _UPDATES)
        rows.append(read_row(dialect, update))
    return Push(last_sent, rows)


def _text(method: str, params: Sequence[Value], place: int, name: str) -> str:
    value = params[place] if len(params) > place else None
    if not isinstance(value, str) or not value:
        raise _invalid(method, name)
    return value


def _number(method: str, params: Sequence[Value], place: int, name: str) -> int:
    value = params[place] if len(params) > place else None
    if not is_number(value):
        raise _invalid(method, name)
    return int(value)  # type: ignore[arg-type]


def _invalid(method: str, name: str) -> Fault:
    return Fault(INVALID_PARAMETER, f"{method} '{name}' parameter is missing or invalid type")


# --- answers ----------------------------------------------------------------


class Malformed(SipxhaError):
    """
    A peer's answer is not what the method returns.
    """


def number_answered(value: object) -> int:
    """
    The number that answers a reset or a push.

    @raise Malformed: It is none.
    """
    if not is_number(value):
        raise Malformed("the answer is no update number")
    return int(value)  # type: ignore[call-overload, no-any-return]


def rows_answered(dialect: Dialect, value: object) -> list[Binding]:
    """
    The rows that answer a pull, already read one by one by L{row_reader}.

    @raise Malformed: There are none, or not as many as there should be.
    """
    if not isinstance(value, dict):
        raise Malformed("the answer is no struct")
    rows = value.get(_UPDATES)
    if not isinstance(rows, list) or value.get(dialect.row_count) != len(rows):
        raise Malformed("the answer holds other rows than it says")
    if not all(isinstance(row, Binding) for row in rows):
        raise Malformed("the answer holds something that is no row")
    return rows


def pull_answer(dialect: Dialect, rows: Sequence[Binding]) -> tuple[dict[str, Value], str]:
    """
    What stands around the rows of a pull's answer: the other members, and the name of the array.
    """
    return {dialect.row_count: len(rows)}, _UPDATES


def row_reader(dialect: Dialect) -> Callable[[dict[str, Any]], Binding]:
    """
    What turns one struct of a pull's answer into a row.
    """

    def read(members: dict[str, Any]) -> Binding:
        return read_row(dialect, members)

    return read


# --- rows -------------------------------------------------------------------


def write_row(dialect: Dialect, row: Binding) -> dict[str, Value]:
    """
    A row as the struct that travels.
    """
    members: dict[str, Value] = {member: getattr(row, column) for member, column in dialect.texts}
    for member, column in dialect.integers:
        value = getattr(row, column)
        # Seconds outgrow an <int> in 2038, and our own kind takes an <i8> there.
        members[member] = value if value <= _INT_MOST else I8(value)
    members[dialect.update_number] = I8(row.update_number)
    for member, column in dialect.extra:
        members[member] = getattr(row, column)
    if row.reg_id:
        members[_REG_ID] = row.reg_id
    return members


def read_row(dialect: Dialect, members: dict[str, Value]) -> Binding:
    """
    The row that travelled as C{members}; the members that we do not know are ignored.

    @raise Fault: 302 for a member that is missing or of another type, 304 for a value that no row may have.
    """
    columns: dict[str, Any] = dict.fromkeys(("identity", "received"), "")
    for member, column in dialect.texts:
        value = members.get(member)
        if not isinstance(value, str):
            raise _bad_member(member)
        columns[column] = value
    for member, column in dialect.extra:
        value = members.get(member, "")
        if not isinstance(value, str):
            raise _bad_member(member)
        columns[column] = value
    for member, column in dialect.integers:
        columns[column] = _member_number(members, member)
    columns["update_number"] = _member_number(members, dialect.update_number)
    columns["reg_id"] = _member_number(members, _REG_ID) if _REG_ID in members else 0
    columns["primary"] = columns["primary"].lower()
    try:
        if not columns["identity"]:
            columns["identity"] = Address.parse(columns["uri"]).uri.identity()
        row = Binding(**columns)
        validate(row)
    except RowRefused as error:
        raise Fault(
            UPDATE_FAILED, f"update {columns['update_number']} of '{columns['primary'][:255]}': {error}"
        ) from error
    except SipxhaError as error:
        raise Fault(UPDATE_FAILED, f"update {columns['update_number']}: 'uri' is no name-addr") from error
    if not is_number(row.update_number) or not row.update_number:
        raise Fault(UPDATE_FAILED, f"{row.update_number} is no update number")
    return row


def _member_number(members: dict[str, Value], member: str) -> int:
    value = members.get(member)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad_member(member)
    return int(value)


def _bad_member(member: str) -> Fault:
    return Fault(INVALID_PARAMETER, f"'{member}' of an update is missing or invalid type")
