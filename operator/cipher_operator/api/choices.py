"""The words that a spec chooses from."""

from enum import StrEnum


class SSLMode(StrEnum):
    """libpq's sslmode values."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class DoorSSLMode(StrEnum):
    """Modes that can be published: node-postgres knows no falling back."""

    DISABLE = SSLMode.DISABLE.value
    REQUIRE = SSLMode.REQUIRE.value
    VERIFY_CA = SSLMode.VERIFY_CA.value
    VERIFY_FULL = SSLMode.VERIFY_FULL.value


class ChannelBinding(StrEnum):
    """libpq's channel_binding values."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"


class DoorVerification(StrEnum):
    """Whether the login is tested where pods connect, too."""

    IF_REACHABLE = "IfReachable"
    ALWAYS = "Always"
    NEVER = "Never"


class UserMode(StrEnum):
    """Whose login is published."""

    DEDICATED = "Dedicated"
    SHARED = "Shared"


class DeletionPolicy(StrEnum):
    """What happens to the data when the CipherStorage is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class AdoptionPolicy(StrEnum):
    """Whether unmarked objects of our names may be taken over."""

    NEVER = "Never"
    IF_UNOWNED = "IfUnowned"


class ManagementPolicy(StrEnum):
    """Whether the operator writes or only plans."""

    MANAGE = "Manage"
    OBSERVE = "Observe"


class AuthMethod(StrEnum):
    """What the operator shows a server instead of, or as, a password."""

    PASSWORD = "Password"
    AWS_IAM = "AWSIAM"
    CLOUD_SQL_IAM = "CloudSQLIAM"
    AZURE_ENTRA = "AzureEntra"


class CAKind(StrEnum):
    """What the server's CA is kept in."""

    SECRET = "Secret"
    CONFIG_MAP = "ConfigMap"
