"""What a ServiceAccount was given, and what it asked for: compared as sets, in both directions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devcluster.audit import Request

REFUSED = frozenset({401, 403})


@dataclass(frozen=True, order=True)
class Right:
    """A verb on a resource; `namespace` and `name` are empty where it holds for all."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = "".join(f" {label}={value}" for label, value in (("in", self.namespace), ("only", self.name)) if value)
        return f"{self.resource} {self.verb}" + (f" ({self.group})" if self.group else "") + where

    def covers(self, request: Request) -> bool:
        """Return whether this right is what lets the request through."""
        return (
            (self.group, self.resource, self.verb) == (request.group, request.resource, request.verb)
            and self.namespace in ("", request.namespace)
            and self.name in ("", request.name)
        )


ASKED_BY_ADMISSION = frozenset({Right("storage.cipher.dev", "cipherstorages/finalizers", "update")})
"""What no request of ours shows: the API server asks for it itself. tests/e2e/test_rights.py takes it away."""


@dataclass(frozen=True)
class Comparison:
    """`beyond` are requests that no right of the manifests covers, whoever else may have granted them."""

    used: frozenset[Right]
    unused: frozenset[Right]
    beyond: tuple[Request, ...]
    refused: tuple[Request, ...]

    @property
    def equal(self) -> bool:
        """Return whether every right was used, every request had one, and none was refused."""
        return not (self.unused or self.beyond or self.refused)

    def __str__(self) -> str:
        parts: Mapping[str, Iterable[object]] = {
            "used": sorted(self.used),
            "granted, not used": sorted(self.unused),
            "used, not granted": [f"{each.verb} {each.uri}" for each in self.beyond],
            "refused": [f"{each.code} {each.verb} {each.uri}: {each.said}" for each in self.refused],
        }
        return "\n".join(f"{title}:" + "".join(f"\n  {each}" for each in items) for title, items in parts.items())


def granted(documents: Iterable[Mapping[str, Any]], namespace: str, account: str) -> frozenset[Right]:
    """Return what the manifests' bindings give to a ServiceAccount. Raises KeyError where a role is not among them."""
    built = list(documents)
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in built
        if each["kind"] in ("Role", "ClusterRole")
    }
    found: set[Right] = set()
    for binding in built:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        if subject not in binding["subjects"]:
            continue
        place, ref = binding["metadata"].get("namespace", ""), binding["roleRef"]
        role = roles[ref["kind"], place if ref["kind"] == "Role" else "", ref["name"]]
        found.update(_rights(role, place))
    return frozenset(found)


def compare(rights: Iterable[Right], requests: Iterable[Request]) -> Comparison:
    """Return what of the rights was used. Requests for no resource (discovery, `/version`) need none of ours."""
    given, asked = frozenset(rights), list(requests)
    used = frozenset(right for right in given if any(right.covers(each) for each in asked))
    return Comparison(
        used,
        given - used,
        tuple(each for each in asked if each.resource and not any(right.covers(each) for right in given)),
        tuple(each for each in asked if each.code in REFUSED),
    )


def _rights(role: Mapping[str, Any], namespace: str) -> Iterable[Right]:
    return (
        Right(group, resource, verb, namespace, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    )
