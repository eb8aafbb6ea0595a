"""Every name the API promises: group, kind, annotations, labels, finalizers, Secret keys."""

import hashlib
import re

GROUP = "storage.cipher.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "CipherStorage"
PLURAL = "cipherstorages"
CRD_NAME = f"{PLURAL}.{GROUP}"

FINALIZER = f"{GROUP}/finalizer"
"""On a CipherStorage with `deletionPolicy: Delete`: there is something to undo on the server."""
IN_USE_FINALIZER = f"{GROUP}/in-use"
"""On the admin Secret and its CA while a CipherStorage with `deletionPolicy: Delete` needs them to clean up."""

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


def default_user_name(namespace: str, name: str) -> str:
    """Return `cipher_<namespace>_<name>_<8 hex>`, at most 57 ASCII characters.

    The hash covers `namespace/name`, so two storages never meet on one name even where the readable
    part had to be cut.
    """
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "_", f"cipher_{namespace}_{name}".lower()).strip("_")
    return f"{readable[: MAX_USER_NAME - 9].rstrip('_')}_{digest}"


def default_secret_name(name: str) -> str:
    """Return the app Secret's name for a CipherStorage that does not choose one."""
    return f"{name}-cipher"
