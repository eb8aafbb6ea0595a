"""Which of its rights an account has: asked of the API server itself, which tells each account of its own."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from cipher_operator.kube.port import Kube

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ORDER = ("get", "list", "watch", "create", "update", "patch")
"""As people write verbs in a role."""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A verb on a resource, such as `secrets` or `cipherstorages/status`; in the whole cluster, or in a namespace; on
    all objects, or on the one of a name."""

    namespace: str
    group: str
    resource: str
    name: str
    verb: str


async def missing(kube: Kube, wanted: Iterable[Right]) -> tuple[Right, ...]:
    """Return those of these rights that this account has not, in order. Raises ApiError, ApiUnavailable."""
    rights = sorted(wanted)
    allowed = await asyncio.gather(*(_allowed(kube, right) for right in rights))
    return tuple(right for right, has in zip(rights, allowed, strict=True) if not has)


async def account(kube: Kube) -> str:
    """Return the name by which the API server knows this account. Raises ApiError, ApiUnavailable."""
    answer = await kube.post(WHO, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    return str(answer["status"]["userInfo"]["username"])


def named(rights: Iterable[Right]) -> str:
    """Return rights in words: places where the same is missing together, resources with all of their verbs."""
    by_place: dict[str, list[Right]] = {}
    for right in sorted(rights):
        by_place.setdefault(right.namespace, []).append(right)
    places: dict[str, list[str]] = {}
    for place, here in by_place.items():
        places.setdefault(", ".join(_verbs(here)), []).append(place)
    return "; ".join(f"{what} in {_where(namespaces)}" for what, namespaces in places.items())


def _verbs(rights: Iterable[Right]) -> Iterator[str]:
    for (group, resource, name), same in groupby(rights, key=lambda right: (right.group, right.resource, right.name)):
        kind, slash, part = resource.partition("/")
        what = (f"{kind}.{group}" if group else kind) + slash + part + (f" '{name}'" if name else "")
        yield f"{'/'.join(sorted((right.verb for right in same), key=_ORDER.index))} {what}"


def _where(namespaces: Sequence[str]) -> str:
    if namespaces == [""]:
        return "the whole cluster"
    return f"namespace{'s' if len(namespaces) > 1 else ''} {', '.join(namespaces)}"


async def _allowed(kube: Kube, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {"namespace": right.namespace, "group": right.group, "name": right.name, "subresource": subresource}
    attributes = {"verb": right.verb, "resource": resource} | {key: value for key, value in asked.items() if value}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer = await kube.post(REVIEWS, body | {"spec": {"resourceAttributes": attributes}})
    return bool(answer["status"]["allowed"])
