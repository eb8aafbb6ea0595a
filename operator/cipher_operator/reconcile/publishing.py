"""The app Secret: reading ours, refusing others', writing only what differs."""

from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api import names
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, Spec
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import ApiError
from cipher_operator.kube.secrets import SecretContent, SecretObject, create_secret, replace_secret
from cipher_operator.queue.inputs import Inputs


@dataclass(frozen=True, slots=True)
class AppSecret:
    """What the app Secret shall be; `data` is plain text."""

    name: str
    data: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def refuse_foreign(resource: Resource, name: str, existing: SecretObject | None) -> None:
    """Raise Failure AlreadyExists for a Secret of that name that is not this storage's. It is never overwritten.

    Ours is known by type and label, not by owner uid: a restored backup has a new uid.
    """
    if existing is None or (
        existing.type == names.SECRET_TYPE and existing.labels.get(names.LABEL_STORAGE) == resource.name
    ):
        return
    raise Failure(
        Reason.ALREADY_EXISTS,
        f"Secret '{name}' exists and is not this storage's; it was not touched. Delete that Secret, or create a new "
        "CipherStorage with another `spec.app.secretName`",
        stage=ConditionType.SECRET_PUBLISHED,
    )


def holds(existing: SecretObject | None, data: Mapping[str, str]) -> bool:
    """Return whether exactly this is published already; `data` is plain text."""
    return existing is not None and dict(existing.data) == {key: value.encode() for key, value in data.items()}


def labels_for(resource: Resource, spec: Spec) -> dict[str, str]:
    """Return the app Secret's labels: the spec's and ours. None is copied from the CipherStorage."""
    return {
        **spec.app.labels,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_STORAGE: resource.name,
    }


async def publish(
    kube: KubeClient, inputs: Inputs, resource: Resource, wanted: AppSecret, existing: SecretObject | None
) -> bool:
    """Write the app Secret if it differs; return whether it was written.

    Raises ApiError, and Failure where the Secret itself is what refuses to be written.
    """
    data = {key: value.encode() for key, value in wanted.data.items()}
    if existing is not None and _equal(existing, wanted, data, resource.uid):
        return False
    inputs.seen(("Secret", resource.namespace, wanted.name), inputs.digest(data), resource.key)
    content = SecretContent(
        names.SECRET_TYPE,
        data,
        # What others wrote on it stays.
        labels={**(existing.labels if existing else {}), **wanted.labels},
        annotations={**(existing.annotations if existing else {}), **wanted.annotations},
        owner={
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": resource.name,
            "uid": resource.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        },
    )
    try:
        if existing is None:
            await create_secret(kube, resource.namespace, wanted.name, content)
        else:
            await replace_secret(kube, existing, content)
    except ApiError as error:
        if (refused := _refused(wanted.name, error, existing)) is None:
            raise
        raise refused from error
    return True


def _refused(name: str, error: ApiError, existing: SecretObject | None) -> Failure | None:
    """Return what keeps this one Secret from being written; None where it may be anything else."""
    if error.status == 409:
        why = f"Secret '{name}' was written by somebody else at the same moment; trying again"
    elif error.status == 422 and existing is not None:
        why = (
            f"Secret '{name}' refuses to be changed, as one with `immutable: true` does; delete it: it is made anew "
            "with a login that works"
        )
    else:
        return None
    return Failure(Reason.UNKNOWN, why, stage=ConditionType.SECRET_PUBLISHED)


def _equal(existing: SecretObject, wanted: AppSecret, data: Mapping[str, bytes], uid: str) -> bool:
    return (
        dict(existing.data) == dict(data)
        and wanted.labels.items() <= existing.labels.items()
        and wanted.annotations.items() <= existing.annotations.items()
        and uid in existing.owner_uids
    )
