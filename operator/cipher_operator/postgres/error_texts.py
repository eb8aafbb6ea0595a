"""What PostgreSQL, poolers and libpq say, and what it means. Texts are libpq 18's and servers' in English."""

import re

from cipher_operator.api.reasons import Reason
from cipher_operator.postgres.error_table import (
    AUTHENTICATION,
    CHECKPOINT,
    CLOUD_SQL_TOKEN,
    DISK_FULL,
    ENTRA_TOKEN,
    FOREIGN_SESSION,
    HBA,
    INVALID_DATABASE,
    KEPT_FROM_FILES,
    LOST,
    NO_CONNECT,
    NO_DATABASE,
    NO_LOCKS,
    NO_LOGIN,
    NO_PROCESS,
    NO_TENANT,
    NO_TLS_REFUSED,
    NO_UPSTREAM,
    NOT_ACCEPTING,
    NOT_POSTGRES,
    NOT_READY,
    PAM,
    POOLER_DISABLED,
    POOLER_HBA,
    POOLER_LOOKUP,
    POOLER_PARAMETER,
    QUOTA,
    READ_ONLY,
    STATEMENT_POOLING,
    TIMEOUT,
    TOO_MANY,
    UNTRUSTED,
    Meaning,
)

R = Reason

TEXTS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (
            r"the server fell silent",
            Meaning(R.DISCONNECTED, "The server did not answer a statement in time; the connection was given up."),
        ),
        (r"the server sent too much", Meaning(R.NOT_POSTGRES, "The server sent more than the operator reads.")),
        (
            r"too many rounds of hashing",
            Meaning(
                R.ACCESS_DENIED,
                "The server asks to hash the password more than a million times before each login.",
                "Set `scram_iterations` on the server to no more than 1000000 (4096 is its default), and the password "
                "of the role {login_sql} again.",
            ),
        ),
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
            r"channel binding (?:check failed|negotiation error)",
            Meaning(
                R.ACCESS_DENIED,
                "A proxy between the operator and the server ends TLS and starts it anew: the two see different "
                "certificates, which is what channel binding is to find out.",
                "Set `spec.connection.channelBinding: disable`, or `channel_binding=disable` in the URL.",
                "28000",
            ),
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
            r"too many connections for role",
            Meaning(
                R.TOO_MANY_CONNECTIONS,
                "The role of {who} takes no more connections.",
                "Close idle clients, or raise its limit: `spec.user.connectionLimit` where it is the published login, "
                "else ALTER ROLE {login_sql} CONNECTION LIMIT -1;",
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
            r"|LDAP authentication failed|server-supplied nonce"
            r"|incorrect server signature|no such user",
            AUTHENTICATION,
        ),
        (
            # Three wordings: of 13 to 15 for a superuser's session and another's, and of 16 and later for both.
            r"superuser to terminate|whose process is being terminated|permission denied to terminate",
            FOREIGN_SESSION,
        ),
        (r"PAM authentication failed", PAM),
        (r"Cloud SQL IAM [\w ]*authentication failed", CLOUD_SQL_TOKEN),
        (r"[Tt]he access token", ENTRA_TOKEN),
        (r"server login has been failing|pgbouncer cannot connect to server", NO_UPSTREAM),
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
        (r"cannot connect to invalid database", INVALID_DATABASE),
        (
            r"not yet accepting connections|is starting up|is shutting down|in recovery mode|Hot standby mode is"
            r"|server is not ready",
            NOT_READY,
        ),
        (r"session is read-only|server is in hot standby mode", READ_ONLY),
        (r"unsupported startup parameter", POOLER_PARAMETER),
        # PgBouncer's words.
        (r"not allowed in statement pooling mode", STATEMENT_POOLING),
        (r'database "[^"]*" is disabled', POOLER_DISABLED),
        (r"bouncer config error", POOLER_LOOKUP),
        (r"login rejected", POOLER_HBA),
        # Without the SQLSTATE of what ails them: internal errors, and what a postmaster without a child says.
        (r"could not fork new process", NO_PROCESS),
        (r"could not write init file", DISK_FULL),
        (r"could not [^:]{1,300}: (?:Disk quota exceeded|File too large)", QUOTA),
        (r"checkpoint request failed", CHECKPOINT),
        (
            r"could not [^:]{1,300}: (?:Permission denied|Read-only file system|Operation not permitted)",
            KEPT_FROM_FILES,
        ),
        (
            r"(?:resize|open|map|create) shared memory segment",
            Meaning(
                R.DISK_FULL,
                "The server has no room for shared memory; its disk may have enough.",
                "Give its container a larger /dev/shm (Docker: --shm-size; Kubernetes: an emptyDir of medium Memory at "
                "/dev/shm).",
                "53100",
            ),
        ),
        (
            r"temporary file size exceeds",
            Meaning(
                R.UNKNOWN,
                "A statement needs more temporary files than `temp_file_limit` allows, as the index of a large table "
                "does.",
                "Raise it as a superuser: on the server, or with ALTER ROLE {login_sql} SET temp_file_limit.",
                "53400",
            ),
        ),
        (r"out of shared memory", NO_LOCKS),
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
