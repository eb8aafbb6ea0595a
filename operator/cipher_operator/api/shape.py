"""The fields of the two kinds that this release reads, writes and selects by: an API server drops what its CRD does not
have."""

from collections.abc import Iterator, Mapping

from cipher_operator.api.names import PLURAL, SERVER_PLURAL

SELECTED_SERVER = "spec.connection.serverRef.name"
"""The field by which storages of one CipherServer are listed."""
SELECTED: Mapping[str, tuple[str, ...]] = {PLURAL: (SELECTED_SERVER,), SERVER_PLURAL: ()}
"""By plural: the fields that lists are narrowed by. An API server refuses that where the CRD does not allow it."""
FIELDS: Mapping[str, Mapping[str, str]] = {
    PLURAL: {
        "spec": "adoptFrom adoptionPolicy app connection database deletionPolicy extensions interval managementPolicy "
        "passwordRotation schema suspend user",
        "spec.adoptFrom": "instance name namespace",
        "spec.app": "annotations caPath caRef host labels maxConnections port secretName sslMode verify",
        "spec.app.caRef": "key kind name",
        "spec.connection": "caRef channelBinding database host port secretRef serverRef sslMode",
        "spec.connection.caRef": "key kind name",
        "spec.connection.secretRef": "keys name",
        "spec.connection.secretRef.keys": "database host password port ssl url user",
        "spec.connection.serverRef": "name",
        "spec.database": "create name",
        "spec.extensions.[]": "name",
        "spec.passwordRotation": "interval",
        "spec.user": "connectionLimit mode name passwordSecretRef",
        "spec.user.passwordSecretRef": "key name",
        "status": "attemptedSince binding conditions database handledRequests observedGeneration passwordSetAt plan "
        "serverVersion user",
        "status.binding": "name",
        "status.conditions.[]": "lastTransitionTime message observedGeneration reason status type",
        "status.handledRequests": "adoptFrom reconcile recreate revokePrevious rotate",
    },
    SERVER_PLURAL: {
        "spec": "allowedNamespaces auth connection databaseNameTemplate defaults limits maxConnections",
        "spec.allowedNamespaces": "from names selector",
        "spec.allowedNamespaces.selector": "matchExpressions matchLabels",
        "spec.allowedNamespaces.selector.matchExpressions.[]": "key operator values",
        "spec.auth": "method region scope",
        "spec.connection": "caRef channelBinding database host port secretRef sslMode user",
        "spec.connection.caRef": "key kind name",
        "spec.connection.secretRef": "keys name",
        "spec.connection.secretRef.keys": "database host password port ssl url user",
        "spec.defaults": "app interval user",
        "spec.defaults.app": "caPath host maxConnections port sslMode verify",
        "spec.defaults.user": "connectionLimit",
        "spec.limits": "adoption databaseNames deletionPolicies existingDatabases extensions storages "
        "userConnectionLimit",
        "status": "conditions observedGeneration rights serverVersion storages",
        "status.conditions.[]": "lastTransitionTime message observedGeneration reason status type",
    },
}
"""By plural and the path of an object, `[]` of an item of a list: the names of its fields."""


def paths(plural: str) -> Iterator[str]:
    """Yield the path of each field, an object's before those of its fields."""
    yield from ("spec", "status")
    for parent, fields in FIELDS[plural].items():
        for field in fields.split():
            yield f"{parent}.{field}"
