"""Every condition reason, its class, and the one sentence that says what to do about it."""

from enum import Enum, StrEnum


class FailureClass(Enum):
    """How a failure is retried and published (design: three kinds, one table)."""

    TRANSIENT = "transient"
    """Goes away by itself: retried after 2 s to 60 s. Ready=False, Reconciling=True."""
    WAITING = "waiting"
    """Somebody must change an input that is watched: retried slowly and at once on a change. Ready=False,
    Reconciling=True."""
    STALLED = "stalled"
    """A person must decide. Ready=False, Stalled=True."""


class Reason(StrEnum):
    """Reasons of conditions; every value is one CamelCase word."""

    READY = "Ready"
    OBSERVED = "Observed"
    CHANGES_PENDING = "ChangesPending"
    PROGRESSING = "Progressing"
    DELETING = "Deleting"
    BUILDING_INDEX = "BuildingIndex"

    CONNECTION_REFUSED = "ConnectionRefused"
    DNS_FAILURE = "DNSFailure"
    CONNECT_TIMEOUT = "ConnectTimeout"
    DISCONNECTED = "Disconnected"
    TOO_MANY_CONNECTIONS = "TooManyConnections"
    SERVER_NOT_READY = "ServerNotReady"
    READ_ONLY_SERVER = "ReadOnlyServer"
    LOCK_TIMEOUT = "LockTimeout"
    DISK_FULL = "DiskFull"
    UNKNOWN = "Unknown"

    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_KEY_MISSING = "SecretKeyMissing"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    ACCESS_DENIED = "AccessDenied"
    TLS_NOT_SUPPORTED = "TLSNotSupported"
    TLS_REQUIRED = "TLSRequired"
    TLS_UNTRUSTED = "TLSUntrusted"
    TLS_HOSTNAME_MISMATCH = "TLSHostnameMismatch"
    NOT_POSTGRES = "NotPostgres"
    DATABASE_MISSING = "DatabaseMissing"
    INSUFFICIENT_PRIVILEGE = "InsufficientPrivilege"
    BLOCKED_ADDRESS = "BlockedAddress"
    SERVER_NOT_AVAILABLE = "ServerNotAvailable"
    IDENTITY_UNAVAILABLE = "IdentityUnavailable"

    INVALID_URL = "InvalidURL"
    INVALID_SPEC = "InvalidSpec"
    CONFLICT = "Conflict"
    ALREADY_EXISTS = "AlreadyExists"
    SCHEMA_CONFLICT = "SchemaConflict"
    TARGET_CHANGED = "TargetChanged"
    DATABASE_LOST = "DatabaseLost"
    DELETION_BLOCKED = "DeletionBlocked"
    LIMIT_EXCEEDED = "LimitExceeded"
    UNSUPPORTED_SERVER = "UnsupportedServer"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"

    @property
    def failure_class(self) -> FailureClass:
        """Return the class of a failure reason; KeyError for Ready, Observed, Progressing and Deleting."""
        return _CLASSES[self]

    @property
    def advice(self) -> str:
        """Return the documented sentence that says what to do."""
        return ADVICE[self]


_T, _W, _S = FailureClass.TRANSIENT, FailureClass.WAITING, FailureClass.STALLED
_CLASSES: dict[Reason, FailureClass] = {
    Reason.CONNECTION_REFUSED: _T,
    Reason.DNS_FAILURE: _T,
    Reason.CONNECT_TIMEOUT: _T,
    Reason.DISCONNECTED: _T,
    Reason.TOO_MANY_CONNECTIONS: _T,
    Reason.SERVER_NOT_READY: _T,
    Reason.READ_ONLY_SERVER: _T,
    Reason.LOCK_TIMEOUT: _T,
    Reason.DISK_FULL: _T,
    Reason.UNKNOWN: _T,
    Reason.SECRET_NOT_FOUND: _W,
    Reason.SECRET_KEY_MISSING: _W,
    Reason.AUTHENTICATION_FAILED: _W,
    Reason.ACCESS_DENIED: _W,
    Reason.TLS_NOT_SUPPORTED: _W,
    Reason.TLS_REQUIRED: _W,
    Reason.TLS_UNTRUSTED: _W,
    Reason.TLS_HOSTNAME_MISMATCH: _W,
    Reason.NOT_POSTGRES: _W,
    Reason.DATABASE_MISSING: _W,
    Reason.INSUFFICIENT_PRIVILEGE: _W,
    Reason.BLOCKED_ADDRESS: _W,
    Reason.SERVER_NOT_AVAILABLE: _W,
    Reason.IDENTITY_UNAVAILABLE: _W,
    Reason.INVALID_URL: _S,
    Reason.INVALID_SPEC: _S,
    Reason.CONFLICT: _S,
    Reason.ALREADY_EXISTS: _S,
    Reason.SCHEMA_CONFLICT: _S,
    Reason.TARGET_CHANGED: _S,
    Reason.DATABASE_LOST: _S,
    Reason.DELETION_BLOCKED: _S,
    Reason.LIMIT_EXCEEDED: _S,
    Reason.UNSUPPORTED_SERVER: _S,
    Reason.PROGRESS_DEADLINE_EXCEEDED: _S,
    Reason.CHANGES_PENDING: _S,
    Reason.BUILDING_INDEX: _T,
}

ADVICE: dict[Reason, str] = {
    Reason.READY: "Nothing to do.",
    Reason.OBSERVED: "Nothing to do: the server already is as the spec wants it.",
    Reason.CHANGES_PENDING: "Read `status.plan`; set `managementPolicy: Manage` to let the operator apply it.",
    Reason.PROGRESSING: "Wait: the operator is at work.",
    Reason.DELETING: "Wait: the operator is removing what it created.",
    Reason.BUILDING_INDEX: "Wait: an index of a large table is being built while its writers go on.",
    Reason.CONNECTION_REFUSED: "Start PostgreSQL, or correct host and port in the connection Secret.",
    Reason.DNS_FAILURE: "Correct the host in the connection Secret, or mend the cluster's DNS.",
    Reason.CONNECT_TIMEOUT: "Open the way to the server: firewall, security group, network policy, or host and port.",
    Reason.DISCONNECTED: "The server ended the connection; look at its log if this lasts.",
    Reason.TOO_MANY_CONNECTIONS: "Raise the server's or the role's connection limit, or close idle clients.",
    Reason.SERVER_NOT_READY: "Wait until the server has started or recovered.",
    Reason.READ_ONLY_SERVER: "Point the connection Secret at the writer endpoint, or free the server's disk.",
    Reason.LOCK_TIMEOUT: "Another session, or a prepared transaction (`pg_prepared_xacts`), holds a lock that is "
    "needed; end it if this lasts.",
    Reason.DISK_FULL: "Give the server more disk space.",
    Reason.UNKNOWN: "Look at the operator's log for the SQLSTATE, and at the server's log.",
    Reason.SECRET_NOT_FOUND: "Create the Secret that the spec names, in the namespace of the CipherStorage.",
    Reason.SECRET_KEY_MISSING: "Add the key to the Secret, or name the right one in `spec.connection.secretRef.keys`.",
    Reason.AUTHENTICATION_FAILED: "Correct user and password in the connection Secret.",
    Reason.ACCESS_DENIED: "Let the operator in: pg_hba.conf, the role's LOGIN attribute, or the authentication method.",
    Reason.TLS_NOT_SUPPORTED: "Turn TLS on at the server, or set `sslMode: disable` on a trusted network.",
    Reason.TLS_REQUIRED: "Set `spec.connection.sslMode: require`: the server refuses plaintext.",
    Reason.TLS_UNTRUSTED: "Put the server's CA into a Secret or ConfigMap and name it in `spec.connection.caRef`.",
    Reason.TLS_HOSTNAME_MISMATCH: "Use the name that stands in the certificate as host, or `sslMode: verify-ca`.",
    Reason.NOT_POSTGRES: "Correct host and port: what answers there is not PostgreSQL.",
    Reason.DATABASE_MISSING: "Create the database, or set `spec.database.create: true`.",
    Reason.INSUFFICIENT_PRIVILEGE: "Run the SQL in the message as a role that may grant it.",
    Reason.BLOCKED_ADDRESS: "Use a routable address, or start the operator with other `--blocked-ranges`.",
    Reason.SERVER_NOT_AVAILABLE: "Ask whoever runs the CipherServer to make it, and to allow your namespace in its "
    "`allowedNamespaces`.",
    Reason.IDENTITY_UNAVAILABLE: "Give the operator's Pods the cloud identity that the message asks for.",
    Reason.INVALID_URL: "Correct the connection URL in the Secret as the message says.",
    Reason.INVALID_SPEC: "Change the field that the message names.",
    Reason.CONFLICT: "Create it anew with another database, schema or user name, or take the objects over with "
    "`spec.adoptFrom`.",
    Reason.ALREADY_EXISTS: "Remove the existing object, set `adoptionPolicy: IfUnowned`, or create the storage anew "
    "with another name.",
    Reason.SCHEMA_CONFLICT: "Change the table as the message says, or move it to another schema; the operator never "
    "changes a column's type.",
    Reason.TARGET_CHANGED: "Set the Secret back, or create a new CipherStorage for the other database.",
    Reason.DATABASE_LOST: "Restore the data, point the Secret at the right server, or set the annotation "
    "`storage.cipher.dev/recreate-requested-at` to begin again empty.",
    Reason.DELETION_BLOCKED: "Remove what the message names, or let go with the annotation "
    '`storage.cipher.dev/force-delete: "true"`.',
    Reason.LIMIT_EXCEEDED: "Change what the message names, or ask whoever runs the CipherServer for another limit.",
    Reason.UNSUPPORTED_SERVER: "Use a PostgreSQL server of version 13 to 18.",
    Reason.PROGRESS_DEADLINE_EXCEEDED: "The cause stands in the Ready condition; it is still retried, slowly.",
}
