"""Where and how pods connect: the operator's own way in, or another door with its own host, port and TLS."""

import ipaddress
from dataclasses import dataclass, replace

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

    `ca` is PEM text of certificates; `ca_path` where pods mount them. `ref` is the Supabase project, if any.
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
    way_in = _way_in(admin, app, ca)
    tls = way_in.ssl_mode
    if tls in {SSLMode.ALLOW, SSLMode.PREFER}:
        tls = SSLMode.REQUIRE if ssl_in_use else SSLMode.DISABLE
    return AppEndpoint(
        host=way_in.host,
        port=way_in.port,
        database=database,
        tls=tls,
        ca=way_in.ca,
        ca_path=app.ca_path,
        max_connections=app.max_connections or admin.max_connections,
        ref=supabase.project_ref(admin.host, admin.user),
        channel_binding=way_in.channel_binding,
        target_session_attrs=way_in.target_session_attrs,
    )


def door_login(
    admin: AdminConnection, app: App, credentials: AppCredentials, *, ca: bytes | None = None
) -> AdminConnection | None:
    """Return the pods' way in with the app's login, for the login test there; None where it is the operator's own.

    `ca` and what is raised are as for `app_door`.
    """
    way_in = _way_in(admin, app, ca)
    if way_in == admin:
        return None
    ref = supabase.project_ref(admin.host, admin.user)
    # Pods know nothing of another negotiation.
    return replace(_with_login(way_in, credentials, ref), ssl_negotiation=None)


def app_login(admin: AdminConnection, credentials: AppCredentials) -> AdminConnection:
    """Return the operator's own way in with the app's login: what the login test connects with."""
    return _with_login(admin, credentials, supabase.project_ref(admin.host, admin.user))


def check_publishable(admin: AdminConnection, app: App, database: str) -> None:
    """Raise Failure(INVALID_SPEC) where no URL leads Cipher's node-pg there, though the operator gets there itself.

    Cipher would go on in memory without a word. node-pg 8.16, which Cipher's lock file names, compares the certificate
    with `localhost` where the host is an address.
    """
    stage = ConditionType.SECRET_PUBLISHED
    if app.host is not None:
        in_spec(parse_host, app.host, "spec.app.host", stage)
    if app.port is not None:
        in_spec(parse_port, str(app.port), "spec.app.port", stage)
    tls = app.ssl_mode or admin.ssl_mode
    field = "spec.app.sslMode" if app.ssl_mode else "spec.connection.sslMode"
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


def _way_in(admin: AdminConnection, app: App, ca: bytes | None) -> AdminConnection:
    """Return the administrator's connection, at the pods' door."""
    host, port, mode = app.host or admin.host, app.port or admin.port, app.ssl_mode or admin.ssl_mode
    certificates = admin.ca if mode in VERIFYING else None
    if app.ca is not None and mode in VERIFYING:
        certificates = read_certificates(app.ca, "spec.app.caRef", ca, ConditionType.SECRET_PUBLISHED)
    elsewhere = (host, port) != (admin.host, admin.port)
    binding = admin.channel_binding
    if binding == "require" and (elsewhere or mode is SSLMode.DISABLE):
        # It was asked of the operator's way in; another door may have nothing to bind to.
        binding = None
    return replace(
        admin,
        host=host,
        port=port,
        ssl_mode=mode,
        ca=certificates,
        channel_binding=binding,
        target_session_attrs=None if elsewhere else admin.target_session_attrs,
    )


def _with_login(connection: AdminConnection, credentials: AppCredentials, ref: str | None) -> AdminConnection:
    user = supabase.login_of(connection.host, credentials.role, ref)
    return replace(connection, user=user, password=credentials.password, warnings=())


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
