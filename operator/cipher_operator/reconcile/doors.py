"""The pods' way in: the login does there what Cipher does, at each address of its host."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DoorVerification
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.desired import Desired
from cipher_operator.core.door import app_login, door_login
from cipher_operator.postgres.dial import DialPolicy, resolve
from cipher_operator.postgres.login import prove_login
from cipher_operator.postgres.session import Session
from cipher_operator.reconcile.decide import Intent
from cipher_operator.reconcile.proof import Proof
from cipher_operator.reconcile.sessions import ACCEPTED, Remembered, Sessions

UNREACHABLE = frozenset(
    {
        Reason.CONNECTION_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.DNS_FAILURE,
        Reason.BLOCKED_ADDRESS,
        Reason.DISCONNECTED,
        Reason.SERVER_NOT_READY,
        Reason.TOO_MANY_CONNECTIONS,
    }
)
"""What says that nobody was reached at the pods' door, and nothing against the login."""
_OF_THE_DOOR = (
    ("host and port in the connection Secret", "`spec.app.host` and `spec.app.port`"),
    ("he host name in the connection Secret", "he host name in `spec.app.host`"),
    ("he host in the connection Secret", "he host in `spec.app.host`"),
    ("the connection Secret", "`spec.app.host`"),
    # Not channelBinding, which the pods' door has from the connection.
    *((f"`spec.connection.{field}", f"`spec.app.{field}") for field in ("caRef", "host", "port", "sslMode")),
)
"""What is said of the operator's way in, and what that is at the pods' door."""
_FIELDS = "`spec.app.host`, `spec.app.port`"
_ANY = "Cipher's client goes to any of them, whatever `target_session_attrs` says"


@dataclass(frozen=True, slots=True)
class PodsWay:
    """The way in that pods take; `other` says that it is not the operator's own. `strict`: all of it must work.

    `started` is when the operator's server was: one that takes the login and was started at another time is another.
    """

    way: AdminConnection
    other: bool
    strict: bool
    indirect: bool = False
    """The operator comes in with `sslnegotiation=direct`, and pods go to the same place without."""
    started: float | None = None

    def is_elsewhere(self, started: float) -> bool:
        """Return whether a server that was started then is not the operator's; its own start may not be known."""
        return self.started not in (None, started)

    def failed(self, where: str) -> str:
        """Return what begins the message of a login test there that failed."""
        if not self.indirect:
            return f"The login test at {where} failed"
        return (
            f"The login test at {where} failed, without `sslnegotiation=direct`, which Cipher's client does not know "
            "(name a way in that takes PostgreSQL's own request for TLS in `spec.app.host` and `spec.app.port`)"
        )


def pods_way(intent: Intent, login: str, *, ssl_in_use: bool) -> PodsWay | None:
    """Return the way in that pods take, None where it is not to be tested."""
    verify = intent.spec.app.verify
    if verify is DoorVerification.NEVER:
        return None
    door, credentials = intent.door(ssl_in_use=ssl_in_use), intent.credentials(login)
    way = door_login(door, intent.admin, credentials) if door.other else app_login(intent.admin, credentials)
    admin = intent.admin
    indirect = admin.ssl_negotiation == "direct" and (door.host, door.port) == (admin.host, admin.port)
    # The operator has just been there: that nobody answers pods is an answer.
    return PodsWay(way, door.other, strict=indirect or verify is DoorVerification.ALWAYS, indirect=indirect)


async def test_doors(
    sessions: Sessions, intent: Intent, login: str, *, ssl_in_use: bool, building: bool, started: float | None
) -> tuple[Failure | None, Failure | None]:
    """Test the login where pods go; return (refusal, what is only told): at most one of them is there. `started` is
    when the operator's server was.

    Both are None where the way is the operator's own, tested already and with one address, where it is not to be
    tested, or where the login works at each address. Where nothing is built afterwards (`building`), the slot of the
    operator's own door is given back before another is tried. Raises Busy where the pods' door has no free slot.
    """
    door = pods_way(intent, login, ssl_in_use=ssl_in_use)
    if door is None:
        return None, None
    door = replace(door, started=started)
    if not building:
        sessions.done_with(intent.admin, door.way)
    addresses = await _addresses(sessions, door.way)
    if len(addresses) > 1:
        return await _test_each(sessions, intent.desired, login, door, addresses)
    if not door.other:
        return None, None
    try:
        sessions.enter(door.way)
        async with sessions.open(door.way, intent.desired.database, purpose="login") as session:
            there = await prove_login(session, intent.desired, login)
    except Failure as failure:
        told = _of_door(failure, door.failed(f"the pods' door ({_FIELDS})"))
        return (None, told) if failure.reason in UNREACHABLE and not door.strict else (told, None)
    elsewhere = _elsewhere(f"the pods' door ({_FIELDS})") if door.is_elsewhere(there) else None
    return (elsewhere, None) if door.strict else (None, elsewhere)


def door_warning(proof: Proof) -> tuple[str, ...]:
    """Return what Ready says of a pods' door that could not be reached, or leads to readers or another server too."""
    if proof.door is None:
        return ()
    if proof.door.reason in {Reason.READ_ONLY_SERVER, Reason.TARGET_CHANGED}:
        return (proof.door.message,)
    return (
        f"the pods' door could not be tested from here ({proof.door.reason}): look whether pods can log in there, or "
        "set `spec.app.verify: Never`",
    )


def of_login(failure: Failure, what: str) -> Failure:
    """Return the failure of a login test, at its stage; one that was only remembered stays one."""
    kind = Remembered if isinstance(failure, Remembered) else Failure
    return kind(
        failure.reason, f"{what}: {failure.message}", stage=ConditionType.ACCESS_GRANTED, sqlstate=failure.sqlstate
    )


def _of_door(failure: Failure, what: str) -> Failure:
    """Return the failure of a login test at another door than the operator's: host, port and TLS are `spec.app`'s."""
    message = failure.message
    for way_in, door in _OF_THE_DOOR:
        message = message.replace(way_in, door)
    kind = Remembered if isinstance(failure, Remembered) else Failure
    return of_login(kind(failure.reason, message, stage=failure.stage, sqlstate=failure.sqlstate), what)


async def _addresses(sessions: Sessions, way: AdminConnection) -> Sequence[str]:
    try:
        return await resolve(way.host, way.port, sessions.policy)
    except Failure:
        # Whoever opens a session there is told.
        return ()


async def _test_each(
    sessions: Sessions, desired: Desired, login: str, door: PodsWay, addresses: Sequence[str]
) -> tuple[Failure | None, Failure | None]:
    """Test the login at each address: one that cannot be reached is passed over by clients, too; one that refuses the
    login, or takes no writes, is met by some pod. With `target_session_attrs` the second is told, not refused: it
    guards what is not Cipher, and whoever set it knows that there are readers. Another server is told, too."""
    try:
        sessions.enter(door.way)
    except Failure as known:
        return of_login(known, door.failed("the pods' host")), None
    policy = sessions.policy.among(len(addresses))
    away: list[Failure] = []
    reader: Failure | None = None
    elsewhere: Failure | None = None
    for address in addresses:
        found = await _test_at(sessions, replace(door.way, address=address), desired, login, policy)
        if not isinstance(found, Failure):
            if door.is_elsewhere(found):
                elsewhere = _elsewhere(f"one of the {len(addresses)} addresses of the pods' host")
            continue
        failure = found
        if failure.reason in UNREACHABLE and not door.strict:
            away.append(failure)
        elif failure.reason is not Reason.READ_ONLY_SERVER:
            where = door.failed(f"one of the {len(addresses)} addresses of the pods' host")
            return (_of_door if door.other else of_login)(failure, where), None
        else:
            reader = _reader(failure, len(addresses))
            if door.strict or door.way.target_session_attrs is None:
                return reader, None
    if elsewhere is not None and door.strict:
        return elsewhere, None
    return None, away[0] if len(away) == len(addresses) else reader or elsewhere


async def _test_at(
    sessions: Sessions, way: AdminConnection, desired: Desired, login: str, policy: DialPolicy
) -> Failure | float:
    """Return why the login does not work at one address, else when the server there was started. The lane is not told:
    its server has others."""
    try:
        session = await Session.open(
            way, desired.database, policy, app_login=True, run=sessions.run, permit=sessions.permit
        )
        sessions.counters.connection("login")
        async with session:
            started = await prove_login(session, desired, login)
    except Failure as failure:
        sessions.counters.login("login", str(failure.reason))
        return failure
    sessions.counters.login("login", ACCEPTED)
    return started


def _elsewhere(what: str) -> Failure:
    """Return what is told of a way that takes the login and its writes, on a server that is not the operator's.

    A clone, or the server that the storage has left: pods there would go on with rows of their own.
    """
    return Failure(
        Reason.TARGET_CHANGED,
        f"{what} leads to another server than the operator's, which has the login and Cipher's tables too: what pods "
        "write there is not in the operator's. Have both lead to one server, or set `spec.app.verify: Never` where "
        "several take writes together",
        stage=ConditionType.ACCESS_GRANTED,
    )


def _reader(failure: Failure, addresses: int) -> Failure:
    return Failure(
        Reason.READ_ONLY_SERVER,
        f"one of the {addresses} addresses of the pods' host takes no writes (a standby), and {_ANY}; name the writer "
        "endpoint in `spec.app.host`",
        stage=ConditionType.ACCESS_GRANTED,
        sqlstate=failure.sqlstate,
    )
