"""What the CRDs in a cluster lack of what this release needs, as discovery and the published schemas show it.

Whoever is logged in may read both: nobody has to give the operator a right to CRDs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.names import API_VERSION, GROUP, KIND, PLURAL, SERVER_KIND, SERVER_PLURAL, VERSION
from cipher_operator.api.shape import SELECTED, paths
from cipher_operator.kube.objects import get_object
from cipher_operator.kube.port import ApiError, Reading

MEND = "`kubectl apply -k crds`, or `helm upgrade`"
"""What brings the CRDs that a release needs."""
NAMED = 8
"""Fields that are named, where more are lacking."""
_KINDS = {PLURAL: KIND, SERVER_PLURAL: SERVER_KIND}


@dataclass(frozen=True, slots=True)
class Lack:
    """What is wrong with the CRD of a kind, as a sentence. `served`: the kind is there, and can be worked with."""

    plural: str
    text: str
    served: bool


async def lacking(kube: Reading, plurals: Sequence[str]) -> tuple[Lack, ...]:
    """Return what the CRDs of these kinds lack, () where nothing. Raises ApiError where discovery is refused, and
    ApiUnavailable.

    Discovery follows a CRD that is established after a moment, and the schemas follow discovery: what is lacking may be
    on its way.
    """
    groups = (await kube.get("/apis")).get("groups") or ()
    versions = [each["version"] for group in groups if group["name"] == GROUP for each in group["versions"]]
    resources = await _resources(kube) if VERSION in versions else frozenset()
    absent = tuple(Lack(each, _absent(each, versions), served=False) for each in plurals if each not in resources)
    served = [each for each in plurals if each in resources]
    schemas = await _schemas(kube) if served else {}
    short = ((each, _short(each, resources, schemas.get(_KINDS[each]))) for each in served)
    return absent + tuple(Lack(each, text, served=True) for each, text in short if text)


async def _resources(kube: Reading) -> frozenset[str]:
    """Return what our version serves: plurals, and subresources as `plural/name`."""
    served = await get_object(kube, f"/apis/{API_VERSION}")
    return frozenset(each["name"] for each in (served or {}).get("resources", ()))


async def _schemas(kube: Reading) -> Mapping[str, Mapping[str, Any]]:
    """Return the published schema of each kind of our version; none where they are closed to us."""
    try:
        document = await get_object(kube, f"/openapi/v3/apis/{API_VERSION}")
    except ApiError:
        return {}
    schemas = (document or {}).get("components", {}).get("schemas", {}).values()
    return {
        meaning["kind"]: schema for schema in schemas for meaning in schema.get("x-kubernetes-group-version-kind", ())
    }


def _absent(plural: str, versions: Sequence[str]) -> str:
    if not versions or VERSION in versions:
        return f"the CRD {plural}.{GROUP} is not installed"
    return f"the CRD {plural}.{GROUP} serves {', '.join(versions)}, not {VERSION}"


def _short(plural: str, resources: frozenset[str], schema: Mapping[str, Any] | None) -> str:
    """Return what a CRD that serves the kind lacks, '' where nothing, or where no schema says."""
    lacks = ["the subresource status"] if f"{plural}/status" not in resources else []
    if schema is not None:
        lacks += _named(_missing(schema, paths(plural)))
        lacks += [f"the field selector `{path}`" for path in _unselectable(schema, SELECTED[plural])]
    return f"the CRD {plural}.{GROUP} is older than this operator and lacks {', '.join(lacks)}" if lacks else ""


def _missing(schema: Mapping[str, Any], wanted: Iterable[str]) -> list[str]:
    """Return the fields that a schema has not; of an object that it has not, the object alone."""
    missing: list[str] = []
    for path in wanted:
        if not any(path.startswith(f"{above}.") for above in missing) and not _has(schema, path):
            missing.append(path)
    return missing


def _unselectable(schema: Mapping[str, Any], wanted: Iterable[str]) -> list[str]:
    """Return the fields that a schema has, and that its kind cannot be listed by. API servers publish them since custom
    resources have any (https://github.com/kubernetes/enhancements/issues/4358)."""
    selectable = {each.get("fieldPath") for each in schema.get("x-kubernetes-selectable-fields") or ()}
    return [path for path in wanted if _has(schema, path) and path not in selectable]


def _has(schema: Mapping[str, Any], path: str) -> bool:
    node: Mapping[str, Any] | None = schema
    for part in path.split("."):
        if node is None or node.get("x-kubernetes-preserve-unknown-fields"):
            break
        node = node.get("items") if part == "[]" else node.get("properties", {}).get(part)
    return node is not None


def _named(missing: Sequence[str]) -> list[str]:
    named = [f"`{path.replace('.[]', '[]')}`" for path in missing[:NAMED]]
    return [*named, f"and {len(missing) - NAMED} more fields"] if len(missing) > NAMED else named
