"""Every name the API promises: group, kind, annotations, labels, finalizers, Secret keys."""

import hashlib
import re

OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
NAMESPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""As Kubernetes takes them: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/."""
DEFAULT_NAMESPACE = "default"
"""As kubectl takes it where a manifest names none."""
SERVERS_NAMESPACE = "cipher-system"
"""Where the manifests put the operator, and with it the Secrets of CipherServers."""

GROUP = "storage.cipher.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "CipherStorage"
PLURAL = "cipherstorages"
CRD_NAME = f"{PLURAL}.{GROUP}"
SERVER_KIND = "CipherServer"
SERVER_PLURAL = "cipherservers"

FINALIZER = f"{GROUP}/finalizer"
"""On a CipherStorage with `deletionPolicy: Delete`: there is something to undo on the server."""
IN_USE_FINALIZER = f"{GROUP}/in-use"
"""On the admin Secret and its CA while a CipherStorage with `deletionPolicy: Delete` needs them to clean up, and on a
CipherServer while any CipherStorage uses it."""

ANNOTATION_RECONCILE = f"{GROUP}/reconcile-requested-at"
ANNOTATION_ROTATE = f"{GROUP}/rotate-requested-at"
ANNOTATION_REVOKE_PREVIOUS = f"{GROUP}/revoke-previous-requested-at"
ANNOTATION_RECREATE = f"{GROUP}/recreate-requested-at"
ANNOTATION_FORCE_DELETE = f"{GROUP}/force-delete"
REQUEST_ANNOTATIONS = {
    "reconcile": ANNOTATION_RECONCILE,
    "rotate": ANNOTATION_ROTATE,
    "revokePrevious": ANNOTATION_REVOKE_PREVIOUS,
    "recreate": ANNOTATION_RECREATE,
}
"""Request name, as it stands in `status.handledRequests`, to the annotation that asks for it."""
ADOPT_REQUEST = "adoptFrom"
"""The request that `spec.adoptFrom` is, in `status.handledRequests`."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "cipher-operator"
LABEL_STORAGE = f"{GROUP}/name"
SECRET_TYPE = "servicebinding.io/postgresql"

KEY_URL = "CIPHER_PG_URL"
KEY_HOST = "STORAGE_DATABASE_HOST"
KEY_PORT = "STORAGE_DATABASE_PORT"
KEY_DATABASE = "STORAGE_DATABASE_NAME"
KEY_USER = "STORAGE_DATABASE_USER"
KEY_PASSWORD = "STORAGE_DATABASE_PASSWORD"
KEY_SSL = "STORAGE_DATABASE_SSL"

REPORTING_CONTROLLER = f"{GROUP}/cipher-operator"
ADVISORY_LOCK_PREFIX = "cipher:"

OWNER_SUFFIX = "_owner"
SECOND_LOGIN_SUFFIX = "_b"
MAX_NAME = 63
"""Bytes PostgreSQL keeps of a name; it cuts longer ones silently, so two of them could be one."""
MAX_USER_NAME = MAX_NAME - len(OWNER_SUFFIX)
"""Longest `spec.user.name` in bytes."""
DIGEST_LENGTH = 8
"""Hexadecimal digits at the end of a derived name."""


def default_user_name(namespace: str, name: str) -> str:
    """Return `cipher_<namespace>_<name>_<8 hex>`, at most 57 ASCII characters."""
    return derived_name(f"cipher_{namespace}_{name}", namespace, name, MAX_USER_NAME)


def derived_name(readable: str, namespace: str, name: str, most: int) -> str:
    """Return a name for a thing of a storage on the server: normalised, cut to `most` bytes, with 8 hex of a hash of
    `namespace/name`, so that no two storages meet on one."""
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:DIGEST_LENGTH]
    normalised = re.sub(r"[^a-z0-9]+", "_", readable.lower()).strip("_")
    return f"{normalised[: most - DIGEST_LENGTH - 1].rstrip('_')}_{digest}"


def default_secret_name(name: str) -> str:
    """Return the app Secret's name for a CipherStorage that does not choose one."""
    return f"{name}-cipher"
