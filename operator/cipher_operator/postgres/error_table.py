"""What PostgreSQL's SQLSTATEs mean. The texts of poolers, libpq and servers are in `error_texts`."""

from dataclasses import dataclass

from cipher_operator.api.reasons import Reason

R = Reason


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reason, what happened, the remedy (the reason's own sentence where empty) and the SQLSTATE behind a text.

    `happened` and `remedy` may use {database}, {who} ("the admin login `x`") and {said}, the server's words.
    """

    reason: Reason
    happened: str
    remedy: str = ""
    sqlstate: str | None = None


AUTHENTICATION = Meaning(R.AUTHENTICATION_FAILED, "The server refused user or password of {who}.", "", "28P01")
PAM = Meaning(
    R.AUTHENTICATION_FAILED,
    "The server refused what {who} sent as password, by PAM.",
    "On RDS a member of `rds_iam`, also through another role, logs in with a token alone. Where a password is meant, "
    "take `rds_iam` from the login and from every role that it is a member of (from PostgreSQL 16 on, each that it "
    "made); where a token is, allow the operator's IAM role `rds-db:connect` as this user, and take the endpoint's own "
    "name as host.",
    "28000",
)
CLOUD_SQL_TOKEN = Meaning(
    R.AUTHENTICATION_FAILED,
    "Cloud SQL refused the token of {who}.",
    "Grant the operator's service account `roles/cloudsql.instanceUser`; as user it is written without "
    "`.gserviceaccount.com`.",
    "28000",
)
ENTRA_TOKEN = Meaning(
    R.AUTHENTICATION_FAILED,
    "The server refused the Entra token of {who}.",
    "Map the role to the operator's identity (pgaadauth_create_principal), in the cloud whose scope it has.",
    "28000",
)
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
INVALID_DATABASE = Meaning(
    R.DATABASE_LOST,
    "The database {database} is invalid: a DROP DATABASE of it was interrupted, and what was in it is lost.",
    "Run as its owner: DROP DATABASE {database_sql};",
    "55000",
)
ENDED_AT_LOGIN = Meaning(
    R.ACCESS_DENIED,
    "The session of {who} is ended as it starts: an event trigger ON login of the database {database} fails.{said}",
    "Mend its function; or disable it as a superuser, with PGOPTIONS='-c event_triggers=off': ALTER EVENT TRIGGER … "
    "DISABLE.",
)
LIBRARY = Meaning(
    R.ACCESS_DENIED,
    "The session of {who} is ended as it starts: the server lacks a library that a setting names.{said}",
    "Install it; or, as a superuser with PGOPTIONS='-c session_preload_libraries= -c local_preload_libraries=', look "
    "where it stands: SELECT setrole::regrole, setdatabase, setconfig FROM pg_db_role_setting; and take it off there: "
    "ALTER ROLE {login_sql} RESET session_preload_libraries; ALTER ROLE {login_sql} RESET local_preload_libraries; the "
    "same of ALTER ROLE {login_sql} IN DATABASE {database_sql}, of ALTER ROLE ALL, of ALTER SYSTEM, and ALTER DATABASE "
    "{database_sql} RESET session_preload_libraries; ALTER DATABASE {database_sql} RESET local_preload_libraries.",
)
READ_ONLY = Meaning(R.READ_ONLY_SERVER, "The server takes no writes: a standby, or read-only mode.")
SEVERAL_ADDRESSES = (
    "The host name has several addresses: add `target_session_attrs=read-write` to the connection URL, so that the one "
    "that takes writes is found; or name the writer endpoint."
)
TIMEOUT = Meaning(R.CONNECT_TIMEOUT, "The server did not answer in time.")
UNANSWERED = Meaning(
    R.CONNECT_TIMEOUT,
    "Something took the connection, and no login came of it in time: a pooler that is paused or does not reach its "
    "server, a proxy or service mesh before a closed way, or a server that hangs.",
    "Open the way from what stands there to the server, or look at why that hangs.",
)
LOST = Meaning(R.DISCONNECTED, "The connection broke off.")
NOT_POSTGRES = Meaning(R.NOT_POSTGRES, "What answers at that host and port does not speak PostgreSQL's protocol.")
POOLER_PARAMETER = Meaning(
    R.ACCESS_DENIED,
    "A connection pooler refused a start-up parameter.",
    "Point the connection Secret at the server itself, or let the pooler ignore the parameter.",
    "08P01",
)
STATEMENT_POOLING = Meaning(
    R.ACCESS_DENIED,
    "The pooler is in statement mode, which takes no transaction, and Cipher works in transactions.",
    "Let its entry for the database have `pool_mode=transaction` or `session`, or go to the server itself.",
    "08P01",
)
POOLER_DISABLED = Meaning(
    R.ACCESS_DENIED,
    "The pooler has disabled the database {database}.",
    "Enable it at the pooler's console (PgBouncer: ENABLE), or go to the server itself.",
    "08P01",
)
POOLER_LOOKUP = Meaning(
    R.ACCESS_DENIED,
    "The pooler cannot look up the password of {who}: its own login or query for that fails.",
    "Mend `auth_user` and `auth_query` of the pooler, or add the login to its `auth_file`.",
    "08P01",
)
POOLER_HBA = Meaning(
    R.ACCESS_DENIED,
    "The pooler does not let {who} in to the database {database} from the operator's address.",
    "Add a line for it to the pooler's own list (PgBouncer: `auth_hba_file`).",
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

DISK_FAILS = Meaning(
    R.UNKNOWN,
    "The server cannot read or write its disk.{said}",
    "Look at the server's log and its disk; restore a backup if it is broken.",
)
DISK_FULL = Meaning(R.DISK_FULL, "The server's disk is full.{said}")
QUOTA = Meaning(
    R.DISK_FULL,
    "The server may write no more.{said}",
    "Raise the disk quota of the user that it runs as, or the largest file that it may write (`ulimit -f`).",
)
CHECKPOINT = Meaning(
    R.UNKNOWN,
    "The server cannot write a checkpoint: its disk is full, as a rule, or fails.",
    "Look at the server's log, and at its disk.",
)
KEPT_FROM_FILES = Meaning(
    R.UNKNOWN,
    "The operating system keeps the server from its own files.{said}",
    "Look at its disk, which may be mounted read-only since an error, and at who owns the files.",
    "42501",
)
NO_LOCKS = Meaning(
    R.UNKNOWN,
    "The server has no room for more locks.",
    "Raise `max_locks_per_transaction` on the server, or end the sessions that hold many locks.",
    "53200",
)
NO_PROCESS = Meaning(
    R.TOO_MANY_CONNECTIONS,
    "The server's host starts no process for one more connection.",
    "Close idle clients, or give it more memory or processes (`ulimit -u`, the container's limit of pids).",
)
DAMAGED = Meaning(
    R.UNKNOWN,
    "A file of the server is damaged.{said}",
    "Let who runs the server look at it: REINDEX where it is an index, else restore a backup.",
)

SQLSTATES: dict[str, Meaning] = {
    "28P01": AUTHENTICATION,
    "28000": Meaning(R.ACCESS_DENIED, "The server does not let {who} in.{said}"),
    "3D000": NO_DATABASE,
    "42501": Meaning(R.INSUFFICIENT_PRIVILEGE, "{Who} lacks a privilege.{said}", "Grant it that, as a role that may."),
    "42939": Meaning(R.INVALID_SPEC, "The server reserves that name.", "Choose another name in the spec."),
    "25006": READ_ONLY,
    "53000": Meaning(
        R.UNKNOWN,
        "The server's host has too little of something.{said}",
        "Give it more; of open files with `ulimit -n` or `fs.file-max`, or lower `max_files_per_process`.",
    ),
    "53100": DISK_FULL,
    "53200": Meaning(R.UNKNOWN, "The server is out of memory.", "Give the server more memory."),
    "53300": TOO_MANY,
    "53400": Meaning(
        R.UNKNOWN,
        "A limit in the server's configuration is met.{said}",
        "Raise it, as a superuser: on the server, or for {who} (ALTER ROLE … SET).",
    ),
    "55000": NOT_ACCEPTING,
    "55006": Meaning(
        R.LOCK_TIMEOUT,
        "An object is in use.",
        "End what uses it: see pg_stat_activity, pg_prepared_xacts, pg_replication_slots and pg_subscription on the "
        "server.",
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
    "57P05": Meaning(
        R.DISCONNECTED,
        "The server ended an idle connection of {who}: its `idle_session_timeout` is very short.",
        "Lift it for that login, which may do so itself: ALTER ROLE {login_sql} SET idle_session_timeout = 0;",
    ),
    "25P04": Meaning(
        R.LOCK_TIMEOUT,
        "A transaction of {who} did not end within its `transaction_timeout`.",
        "Lift it for that login, which may do so itself: ALTER ROLE {login_sql} SET transaction_timeout = 0;",
    ),
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
    "58030": DISK_FAILS,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
    "22012": Meaning(
        R.UNKNOWN,
        "The ownership marker changed while the operator worked.",
        "Wait: the next run begins anew, at the API server.",
    ),
}
"""By SQLSTATE, in a session or read off a start-up error."""

_OF_FILES = ("buffile.c", "copydir.c", "fd.c", "md.c", "miscinit.c", "relmapper.c", "slru.c", "xlog.c")
"""Sources that handle files and judge nobody: a 42501 there is the operating system's."""
SOURCES: dict[tuple[str, str], Meaning] = {
    ("42501", "TerminateOtherDBBackends"): FOREIGN_SESSION,
    ("42501", "pg_terminate_backend"): FOREIGN_SESSION,
    **{("42501", file): KEPT_FROM_FILES for file in _OF_FILES},
    ("53200", "lock.c"): NO_LOCKS,
    ("53200", "predicate.c"): NO_LOCKS,
}
"""By SQLSTATE and the function or file of the server's source that reports it: the same in every language."""
