"""What PostgreSQL, poolers and libpq say, and what it means. Texts are libpq 18's and servers' in English."""

import re
from dataclasses import dataclass

from cipher_operator.api.reasons import Reason

R = Reason


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reason, what happened, the remedy (the reason's own sentence where empty) and the SQLSTATE behind a text.

    `happened` and `remedy` may use {database}, {login}, {who} ("the admin login `x`") and {secret}.
    """

    reason: Reason
    happened: str
    remedy: str = ""
    sqlstate: str | None = None


AUTHENTICATION = Meaning(R.AUTHENTICATION_FAILED, "The server refused user or password of {who}.", "", "28P01")
NO_DATABASE = Meaning(R.DATABASE_MISSING, "The database {database} does not exist.", "", "3D000")
NO_CONNECT = Meaning(
    R.INSUFFICIENT_PRIVILEGE,
    "{Who} may not connect to the database {database}.",
    "Run as its owner: GRANT CONNECT ON DATABASE {database_sql} TO {login_sql};",
    "42501",
)
NO_TLS_REFUSED = Meaning(
    R.TLS_REQUIRED,
    "The server refuses {who} without TLS.",
    "Set `spec.connection.sslMode: require`; where the server has no TLS, add a line for the login to pg_hba.conf.",
    "28000",
)
HBA = Meaning(
    R.ACCESS_DENIED,
    "The server's pg_hba.conf does not let {who} in to the database {database} from the operator's address.",
    "Add a line for it to pg_hba.conf, or to the provider's list of allowed addresses.",
    "28000",
)
NO_LOGIN = Meaning(
    R.ACCESS_DENIED,
    "The role of {who} is not permitted to log in.",
    "Run as an administrator: ALTER ROLE {login_sql} LOGIN;",
    "28000",
)
TOO_MANY = Meaning(R.TOO_MANY_CONNECTIONS, "The server takes no more connections now.", "", "53300")
NOT_READY = Meaning(R.SERVER_NOT_READY, "The server is starting up, shutting down or recovering.", "", "57P03")
NOT_ACCEPTING = Meaning(
    R.SERVER_NOT_READY,
    "The database {database} does not accept connections.",
    "Run as an administrator: ALTER DATABASE {database_sql} WITH ALLOW_CONNECTIONS true;",
    "55000",
)
TIMEOUT = Meaning(R.CONNECT_TIMEOUT, "The server did not answer in time.")
LOST = Meaning(R.DISCONNECTED, "The connection broke off.")
NOT_POSTGRES = Meaning(R.NOT_POSTGRES, "What answers at that host and port does not speak PostgreSQL's protocol.")
POOLER_PARAMETER = Meaning(
    R.ACCESS_DENIED,
    "A connection pooler refused a start-up parameter.",
    "Point the connection Secret at the server itself, or let the pooler ignore the parameter.",
    "08P01",
)
FOREIGN_SESSION = Meaning(
    R.LOCK_TIMEOUT,
    "A session that {who} may not end is connected to the database {database}.",
    "Wait for it to end, or end it as a superuser: SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname is that database.",
    "42501",
)
NO_UPSTREAM = Meaning(R.SERVER_NOT_READY, "The pooler does not reach the server behind it.")
NO_TENANT = Meaning(
    R.AUTHENTICATION_FAILED,
    "The pooler knows no project or role by the name of {who}.",
    "In the connection Secret the user at Supabase's pooler is `<role>.<project ref>`, and the host that of the "
    "project's region.",
)
UNTRUSTED = Meaning(
    R.TLS_UNTRUSTED,
    "The server's certificate is not trusted: it is self-signed, expired, or its CA is not {trusted}.",
)

SQLSTATES: dict[str, Meaning] = {
    "28P01": AUTHENTICATION,
    "28000": Meaning(R.ACCESS_DENIED, "The server does not let {who} in."),
    "3D000": NO_DATABASE,
    "42501": Meaning(R.INSUFFICIENT_PRIVILEGE, "{Who} lacks a privilege.{said}"),
    "42939": Meaning(R.INVALID_SPEC, "The server reserves that name.", "Choose another name in the spec."),
    "25006": Meaning(R.READ_ONLY_SERVER, "The server takes no writes: a standby, or read-only mode."),
    "53100": Meaning(R.DISK_FULL, "The server's disk is full."),
    "53200": Meaning(R.UNKNOWN, "The server is out of memory.", "Give the server more memory."),
    "53300": TOO_MANY,
    "55000": NOT_ACCEPTING,
    "55006": Meaning(
        R.LOCK_TIMEOUT,
        "An object is in use.",
        "End what uses it: see pg_stat_activity, pg_prepared_xacts and pg_replication_slots on the server.",
    ),
    "55P03": Meaning(R.LOCK_TIMEOUT, "A lock was not free within its time limit."),
    "40P01": Meaning(R.LOCK_TIMEOUT, "The server ended a deadlock with another session."),
    "57014": Meaning(
        R.LOCK_TIMEOUT, "A statement did not end within its time limit.", "Look at what keeps the server busy."
    ),
    "57P01": Meaning(R.DISCONNECTED, "The server ended the connection."),
    "57P02": Meaning(R.DISCONNECTED, "The server ended the connection after a crash."),
    "57P03": NOT_READY,
    "57P04": Meaning(R.DISCONNECTED, "The database was dropped while the operator worked in it."),
    "57P05": Meaning(R.DISCONNECTED, "The server ended an idle connection."),
    "25P03": Meaning(R.DISCONNECTED, "The server ended an idle transaction."),
    "08P01": POOLER_PARAMETER,
    "08000": LOST,
    "08003": LOST,
    "08006": LOST,
    "2BP01": Meaning(R.DELETION_BLOCKED, "Other objects depend on what was to be dropped.{said}"),
    "58P01": Meaning(
        R.INVALID_SPEC, "The server lacks a file.{said}", "Install the extension, or take it off `spec.extensions`."
    ),
    "0A000": Meaning(
        R.INVALID_SPEC,
        "The server does not support that.{said}",
        "Install the extension, or take it off `spec.extensions`.",
    ),
    "22012": Meaning(
        R.UNKNOWN,
        "The ownership marker changed while the operator worked.",
        "Wait: the next run begins anew, at the API server.",
    ),
}
"""By SQLSTATE, in a session or read off a start-up error."""

SOURCES: dict[str, Meaning] = {
    "TerminateOtherDBBackends": FOREIGN_SESSION,
    "pg_terminate_backend": FOREIGN_SESSION,
}
"""By the function in the server's source that reports a 42501: the same in every language."""

TEXTS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"the server sent too much", Meaning(R.NOT_POSTGRES, "The server sent more than the operator reads.")),
        (
            r"Connection refused",
            Meaning(R.CONNECTION_REFUSED, "The server refused the connection: nothing listens there."),
        ),
        (r"failed to resolve host|could not translate host name", Meaning(R.DNS_FAILURE, "The host has no address.")),
        (
            r"Network is unreachable|No route to host|Cannot assign requested address",
            Meaning(
                R.CONNECT_TIMEOUT,
                "There is no route to the server's address.",
                "Open the way to it; where the host has only IPv6 addresses and the cluster has no IPv6, use an "
                "endpoint with IPv4 (Supabase: the pooler).",
            ),
        ),
        (r"timeout expired|Connection timed out", TIMEOUT),
        (r"unexpected eof|consuming input failed|SSL SYSCALL|Connection reset", LOST),
        (
            r"invalid response to SSL negotiation|expected authentication request|wrong version number"
            r"|packet length too long|without ALPN|no application protocol|invalid (?:message|response)"
            r"|unsupported frontend protocol|record layer failure|lost synchronization|SSL error: unknown protocol"
            r"|received unencrypted data after SSL|received error response .*SSL negotiation",
            NOT_POSTGRES,
        ),
        (
            r"server does not support SSL",
            Meaning(R.TLS_NOT_SUPPORTED, "The server does not offer TLS, and the sslMode asks for it."),
        ),
        (
            r"valid client certificate|certificate required|certificate authentication failed",
            Meaning(
                R.ACCESS_DENIED,
                "The server asks for a client certificate.",
                "Client certificates are not supported: let {who} in with a password.",
            ),
        ),
        (r"certificate verify failed", UNTRUSTED),
        (
            r"does not match host name|could not get server's host name from server certificate",
            Meaning(R.TLS_HOSTNAME_MISMATCH, "The server's certificate is for another host name."),
        ),
        (
            r"root certificate file|sslrootcert",
            Meaning(R.TLS_UNTRUSTED, "The CA certificates that `spec.connection.caRef` names cannot be read."),
        ),
        (
            r"channel binding",
            Meaning(
                R.ACCESS_DENIED,
                "The server does not offer channel binding, and the URL asks for it.",
                "Take `channel_binding=require` off the URL, or connect with TLS and SCRAM.",
            ),
        ),
        (
            r"authentication method requirement .* failed: server did not complete authentication",
            Meaning(
                R.ACCESS_DENIED,
                "The server lets everybody in without a password (trust), so it proves nothing about itself.",
                "Set the method in pg_hba.conf to scram-sha-256, or verify the server with sslMode verify-full.",
            ),
        ),
        (
            r"authentication method requirement .* failed: server requested a hashed password",
            Meaning(
                R.ACCESS_DENIED,
                "The server asks for an MD5 password.",
                "Move the role to SCRAM, add `require_auth=md5` to the URL, or verify the server with sslMode "
                "verify-full.",
            ),
        ),
        (
            r"authentication method requirement",
            Meaning(
                R.ACCESS_DENIED,
                "The server asks for the password in plain text, which is not sent to a server that nobody verified.",
                "Verify the server with sslMode verify-full (or verify-ca), or let {who} in with SCRAM.",
            ),
        ),
        (
            r"too many connections for database",
            Meaning(
                R.TOO_MANY_CONNECTIONS,
                "The database {database} takes no more connections.",
                "Close idle clients, or raise its limit: ALTER DATABASE {database_sql} CONNECTION LIMIT -1;",
                "53300",
            ),
        ),
        (
            r"too many connections for|too many clients|connection slots are reserved|max_client_conn"
            r"|[Mm]ax client(?:s| connections) reached",
            TOO_MANY,
        ),
        (
            # Supavisor's words, of 2024 and of 2025 on; it gives all of its own the SQLSTATE XX000.
            r"[Tt]enant or user not found|tenant/user \S* not found|ETENANTNOTFOUND|no tenant identifier provided",
            NO_TENANT,
        ),
        (
            r"Too many authentication errors",
            Meaning(
                R.AUTHENTICATION_FAILED,
                "The pooler lets nobody in for some minutes: too many logins were refused.",
                "Correct the passwords that are tried, and wait.",
            ),
        ),
        (r"Unable to establish connection to upstream database|Failed to retrieve database credentials", NO_UPSTREAM),
        (
            r"password authentication failed|no password supplied|SASL authentication failed|server login failed"
            r"|PAM authentication failed|LDAP authentication failed|server-supplied nonce"
            r"|incorrect server signature|no such user",
            AUTHENTICATION,
        ),
        (
            # Three wordings: of 13 to 15 for a superuser's session and another's, and of 16 and later for both.
            r"superuser to terminate|whose process is being terminated|permission denied to terminate",
            FOREIGN_SESSION,
        ),
        (r"is not permitted to log in", NO_LOGIN),
        (
            r"(?:no pg_hba\.conf entry|pg_hba\.conf rejects) .*(?:no encryption|SSL off)|SSL connection is required"
            r"|connection is insecure|SSL required|requires? SSL|server requires encryption",
            NO_TLS_REFUSED,
        ),
        (r"no pg_hba\.conf entry|pg_hba\.conf rejects|address not in tenant allow_list", HBA),
        (r'role ".*" does not exist', AUTHENTICATION),
        (r'database ".*" does not exist|no such database', NO_DATABASE),
        (r"permission denied for database|does not have CONNECT privilege", NO_CONNECT),
        (r"not currently accepting connections", NOT_ACCEPTING),
        (
            r"not yet accepting connections|is starting up|is shutting down|in recovery mode|Hot standby mode is"
            r"|server is not ready",
            NOT_READY,
        ),
        (
            r"session is read-only|hot standby mode",
            Meaning(R.READ_ONLY_SERVER, "The server takes no writes: a standby, or read-only mode."),
        ),
        (r"unsupported startup parameter", POOLER_PARAMETER),
        (
            r"out of shared memory",
            Meaning(
                R.UNKNOWN,
                "The server has no room for more locks.",
                "Raise `max_locks_per_transaction` on the server, or end the sessions that hold many locks.",
                "53200",
            ),
        ),
        (
            r"SSL error",
            Meaning(
                R.TLS_NOT_SUPPORTED,
                "The TLS handshake failed: server and operator have no TLS version or cipher in common.",
                "Let the server offer TLS 1.2 or 1.3.",
            ),
        ),
        (
            r"server closed the connection|Broken pipe|socket closed|connection is (?:closed|lost)"
            r"|connection (?:was )?terminated|no connection to the server",
            LOST,
        ),
    )
)
"""By text, first match wins. A broken TLS stream says `SSL error` too, so the breaks come first."""
