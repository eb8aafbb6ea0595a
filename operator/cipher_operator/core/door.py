"""Where and how pods connect: the operator's own way in, or another door with its own host, port and TLS."""

import ipaddress
from dataclasses import dataclass, replace

from cipher_operator.api.connection import PASSWORD_AUTH
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import App, SSLMode
from cipher_operator.core.connection import supabase
from cipher_operator.core.connection.admin import VERIFYING, AdminConnection, read_certificates
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.values import in_spec, parse_host, parse_port


@dataclass(frozen=True, slots=True)
class AppEndpoint:
    """Where and how pods connect. `tls` is the mode decided: never allow or prefer.

    `ca` is PEM text of certificates; `ca_path` where pods mount them. `ref` is the Supabase project, if any. `other`
    says that this is another way in than the operator's: the login has to be tested here too.
    """

    host: str
    port: int
    database: str
    tls: SSLMode
    ca: str | None = None
    ca_path: str | None = None
    max_connections: int | None = None
    ref: str | None = None
    channel_binding: str | None = None
    target_session_attrs: str | None = None
    other: bool = False


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """A role on the server and its password, before any pooler's spelling of the login."""

    role: str
    password: Password


def app_door(
    admin: AdminConnection, app: App, database: str, *, ssl_in_use: bool, ca: bytes | None = None
) -> AppEndpoint:
    """Return where pods connect: the operator's own endpoint with `spec.app`'s host, port, TLS and CA.

    `ssl_in_use` says whether the operator's own connection used TLS; it decides allow and prefer. `ca` is the content
    that `spec.app.caRef` names. Raises Failure TLS_UNTRUSTED, stage SecretPublished, where `ca` holds no certificate.
    """
    own = _decided(admin.ssl_mode, ssl_in_use)
    tls = app.ssl_mode or own
    certificates = None
    if tls in VERIFYING:
        certificates = admin.ca
        if app.ca is not None:
            certificates = read_certificates(app.ca, "spec.app.caRef", ca, ConditionType.SECRET_PUBLISHED)
    host, port = app.host or admin.host, app.port or admin.port
    elsewhere = (host, port) != (admin.host, admin.port)
    binding = admin.channel_binding
    if binding == "require" and (elsewhere or tls is SSLMode.DISABLE):
        # Asked of the operator's way in; another door may have nothing to bind to.
        binding = None
    return AppEndpoint(
        host=host,
        port=port,
        database=database,
        tls=tls,
        ca=certificates,
        ca_path=app.ca_path,
        max_connections=app.max_connections or admin.max_connections,
        ref=supabase.project_ref(admin.host, admin.user),
        channel_binding=binding,
        target_session_attrs=None if elsewhere else admin.target_session_attrs,
        # Pods ask for TLS with PostgreSQL's own request alone, which not everything takes that takes it directly.
        other=elsewhere or (tls, certificates) != (own, admin.ca) or admin.ssl_negotiation == "direct",
    )


def door_login(door: AppEndpoint, admin: AdminConnection, credentials: AppCredentials) -> AdminConnection:
    """Return the pods' way in with the app's login: what the login test at their door connects with."""
    return replace(
        admin,
        host=door.host,
        port=door.port,
        user=supabase.login_of(door.host, credentials.role, door.ref),
        password=credentials.password,
        database=door.database,
        ssl_mode=door.tls,
        ca=door.ca,
        channel_binding=door.channel_binding,
        # Pods know nothing of it.
        ssl_negotiation=None,
        target_session_attrs=door.target_session_attrs,
        warnings=(),
        auth=PASSWORD_AUTH,
    )


def app_login(admin: AdminConnection, credentials: AppCredentials) -> AdminConnection:
    """Return the operator's own way in with the app's login: what the login test connects with."""
    ref = supabase.project_ref(admin.host, admin.user)
    user = supabase.login_of(admin.host, credentials.role, ref)
    return replace(admin, user=user, password=credentials.password, warnings=(), auth=PASSWORD_AUTH)


def check_publishable(admin: AdminConnection, app: App, database: str, *, tenant: bool = False) -> None:
    """Raise Failure(INVALID_SPEC) where no URL leads Cipher's node-pg there, though the operator gets there itself.

    Cipher would go on in memory without a word. node-pg 8.16, which Cipher's lock file names, compares the certificate
    with `localhost` where the host is an address. `tenant`: whoever reads it may change `spec.app` alone.
    """
    stage = ConditionType.SECRET_PUBLISHED
    if app.host is not None:
        in_spec(parse_host, app.host, "spec.app.host", stage)
    if app.port is not None:
        in_spec(parse_port, str(app.port), "spec.app.port", stage)
    tls = app.ssl_mode or admin.ssl_mode
    field = "spec.app.sslMode" if app.ssl_mode or tenant else "spec.connection.sslMode"
    if tls is SSLMode.VERIFY_FULL and _is_address(app.host or admin.host):
        raise _unpublishable(
            "pods cannot verify the server: sslMode verify-full compares its certificate with the host name, and the "
            "host is an IP address, with which Cipher's client cannot compare it. Set `spec.app.host` to the name in "
            f"the certificate, or `{field}: verify-ca`"
        )
    if app.ssl_mode is SSLMode.VERIFY_CA and app.ca is None and admin.ca is None:
        raise _unpublishable(
            "`spec.app.sslMode: verify-ca` needs the CA of the pods' way in: set `spec.app.caRef`, or use verify-full, "
            "which the public authorities serve for"
        )
    if _leaves_the_project_open(admin, app):
        raise _unpublishable(
            "pods cannot log in at Supabase's pooler, which `spec.app.host` names: a login there ends in the project's "
            "ref, and the connection names neither `db.<ref>.supabase.co` nor the pooler. Put one of them into "
            "the Secret"
        )
    if set("?#") & set(database) or {".", ".."} & set(database.split("/")):
        raise _unpublishable(
            "the database's name cannot stand in a URL that Cipher's client reads: it has a '?', a '#', or a part that "
            "is '.' or '..'. Rename the database, or name another one"
        )


def _decided(mode: SSLMode, ssl_in_use: bool) -> SSLMode:
    if mode in {SSLMode.ALLOW, SSLMode.PREFER}:
        return SSLMode.REQUIRE if ssl_in_use else SSLMode.DISABLE
    return mode


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _leaves_the_project_open(admin: AdminConnection, app: App) -> bool:
    """Return whether pods go to Supabase's pooler and nothing says which project is meant."""
    if app.host is None or supabase.is_pooler(admin.host):
        return False
    return supabase.is_pooler(app.host) and supabase.project_ref(admin.host, admin.user) is None


def _unpublishable(message: str) -> Failure:
    return Failure(Reason.INVALID_SPEC, message, stage=ConditionType.SECRET_PUBLISHED)
