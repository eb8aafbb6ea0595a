"""The app Secret: what it shall hold, written only where it differs, and why it cannot be written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cipher_operator.api import names
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, Spec
from cipher_operator.core.rotation import ANNOTATION_PASSWORD_SET, password_annotations
from cipher_operator.core.secret import AppSecretData, app_secret_data, read_app_secret
from cipher_operator.kube.port import ApiError
from cipher_operator.kube.refusals import Refusal, refusal
from cipher_operator.kube.secrets import SecretContent, SecretObject, create_secret, replace_secret
from cipher_operator.postgres.provision import Report
from cipher_operator.reconcile.contents import version, version_of
from cipher_operator.reconcile.decide import Intent
from cipher_operator.reconcile.prove import login_of
from cipher_operator.reconcile.snapshot import Snapshot
from cipher_operator.reconcile.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Published:
    """What stands in the app Secret now, with what its readers should know."""

    annotations: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    password_set_at: str | None = None
    rewritten: tuple[str, ...] = ()
    """Keys that held something else before."""


async def publish(around: Surroundings, snapshot: Snapshot, intent: Intent, report: Report) -> Published | Failure:
    """Write the app Secret if it differs. Returns what is published, or why this one Secret cannot be written.

    Raises ApiError, ApiUnavailable where it may be anything else.
    """
    resource, existing, wanted = snapshot.resource, intent.existing, content(intent, report)
    published = read_app_secret(existing.data) if existing is not None else None
    changed = published is None or published.password != intent.password
    standing = existing.annotations if existing is not None else {}
    passwords = password_annotations(intent.requests, standing, around.now(), changed=changed)
    annotations = {**intent.spec.app.annotations, **passwords}
    own = not intent.desired.shared and intent.spec.user.password_ref is None
    answer = Published(annotations, wanted.warnings, passwords[ANNOTATION_PASSWORD_SET] if own else None)
    data = {key: value.encode() for key, value in wanted.data.items()}
    labels = labels_of(resource, intent.spec)
    if existing is not None and _stands(existing, data, labels, annotations, resource.uid):
        return answer
    written = SecretContent(
        names.SECRET_TYPE,
        data,
        # What others wrote on it stays.
        labels={**(existing.labels if existing else {}), **labels},
        annotations={**standing, **annotations},
        owner=_owner(resource),
    )
    name = intent.spec.app.secret_name
    ref = ("Secret", resource.namespace, name)
    try:
        # Noted before it is written: the watch may be faster than the answer.
        before = existing.resource_version if existing is not None else ""
        around.inputs.read(resource.key, ref, version(data, before, around.digest))
        if existing is None:
            stored = await create_secret(around.kube, resource.namespace, name, written)
        else:
            stored = await replace_secret(around.kube, existing, written)
        around.inputs.read(resource.key, ref, version_of(stored, around.digest))
    except ApiError as error:
        if (failure := _refused(name, error)) is None:
            raise
        return failure
    return replace(answer, rewritten=_differing(existing, data))


def content(intent: Intent, report: Report) -> AppSecretData:
    """Return what the app Secret shall hold."""
    door = intent.door(ssl_in_use=bool(report.ssl_in_use))
    return app_secret_data(door, intent.credentials(login_of(intent, report)))


def holds(intent: Intent, report: Report) -> bool:
    """Return whether exactly this is published already."""
    if intent.existing is None:
        return False
    wanted = {key: value.encode() for key, value in content(intent, report).data.items()}
    return dict(intent.existing.data) == wanted


def labels_of(resource: Resource, spec: Spec) -> dict[str, str]:
    """Return the app Secret's labels: the spec's and ours. None is copied from the CipherStorage."""
    return {
        **spec.app.labels,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_STORAGE: resource.name,
    }


def _owner(resource: Resource) -> dict[str, object]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _stands(
    existing: SecretObject,
    data: Mapping[str, bytes],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    uid: str,
) -> bool:
    return (
        dict(existing.data) == dict(data)
        and labels.items() <= existing.labels.items()
        and annotations.items() <= existing.annotations.items()
        and existing.controller_uid == uid
    )


def _differing(existing: SecretObject | None, data: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the keys, of ours, that hold something else than before; none of a Secret that is new."""
    if existing is None:
        return ()
    return tuple(key for key, value in data.items() if existing.data.get(key) != value)


def _refused(name: str, error: ApiError) -> Failure | None:
    """Return what keeps this one Secret from being written; None where it may be anything else."""
    match refusal(error):
        case Refusal.CONFLICT | Refusal.GONE:
            why = f"Secret '{name}' was written by somebody else at the same moment; trying again"
        case Refusal.IMMUTABLE:
            why = (
                f"Secret '{name}' refuses to be changed, as one with `immutable: true` does; delete it: it is made "
                "anew with a login that works"
            )
        case Refusal.ADMISSION:
            why = (
                f"an admission policy of the cluster refuses Secret '{name}': {error.message.rstrip('.')}. Set what it "
                "asks for with `spec.app.labels` or `spec.app.annotations`, or except this Secret from the policy"
            )
        case Refusal.WEBHOOK_AWAY:
            said = error.message.rstrip(".")
            why = f"an admission webhook of the cluster does not answer for Secret '{name}': {said}. Mend the webhook"
        case Refusal.QUOTA:
            said = error.message.rstrip(".")
            why = f"the namespace's quota leaves no room for Secret '{name}': {said}. Raise the quota"
        case Refusal.TERMINATING:
            why = f"Secret '{name}' cannot be created: the namespace is being deleted"
        case _:
            return None
    return Failure(Reason.UNKNOWN, why, stage=ConditionType.SECRET_PUBLISHED)
