"""What the CRDs of a cluster lack, as discovery and the published schemas have it."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.names import GROUP, PLURAL, SERVER_PLURAL
from cipher_operator.api.shape import SELECTED, paths
from cipher_operator.kube.kinds import NAMED, lacking
from cipher_operator.kube.port import JSON, ApiError, ApiUnavailable, Json
from support import crd

ROOT = Path(__file__).parents[2]
GROUPS, RESOURCES, SCHEMAS = "/apis", f"/apis/{GROUP}/v1alpha1", f"/openapi/v3/apis/{GROUP}/v1alpha1"


class Discovery:
    """An API server that serves what the CRDs say, but for what a test takes away; `closed` are paths refused."""

    def __init__(self) -> None:
        groups = [{"name": "apps", "versions": [{"version": "v1"}]}, _group("v1alpha1")]
        resources = [f"{plural}{part}" for plural in crd.KINDS for part in ("", "/status")]
        schemas = {plural: _published(plural) for plural in crd.KINDS}
        self.documents: dict[str, Json] = {
            GROUPS: {"groups": groups},
            RESOURCES: {"resources": [{"name": name} for name in resources]},
            SCHEMAS: {"components": {"schemas": {**schemas, "Time": {"type": "string"}}}},
        }
        self.refusals: dict[str, Exception] = {}

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        if path in self.refusals:
            raise self.refusals[path]
        if path not in self.documents:
            raise ApiError(404, "Not Found")
        return self.documents[path]

    def serve(self, *versions: str) -> None:
        self.documents[GROUPS] = {"groups": [_group(*versions)] if versions else []}

    def drop(self, resource: str) -> None:
        kept = [each for each in self.documents[RESOURCES]["resources"] if each["name"] != resource]
        self.documents[RESOURCES] = {"resources": kept}

    def without(self, path: str, plural: str = PLURAL) -> None:
        above, _, field = path.rpartition(".")
        node = self.documents[SCHEMAS]["components"]["schemas"][plural]
        for part in above.split("."):
            node = node["items"] if part == "[]" else node["properties"][part]
        del node["properties"][field]

    def unselectable(self, *, without: str = "") -> None:
        if without:
            self.without(without)
        del self.documents[SCHEMAS]["components"]["schemas"][PLURAL]["x-kubernetes-selectable-fields"]


def _group(*versions: str) -> Json:
    return {"name": GROUP, "versions": [{"version": version} for version in versions]}


def _published(plural: str) -> Json:
    kind = crd.document(plural)["spec"]["names"]["kind"]
    named = crd.version(plural).get("selectableFields", ())
    selectable = [{"fieldPath": each["jsonPath"].lstrip(".")} for each in named]
    extensions = {"x-kubernetes-selectable-fields": selectable} if selectable else {}
    return {**deepcopy(crd.schema("", plural)), "x-kubernetes-group-version-kind": [{"kind": kind}], **extensions}


def _open(schema: dict[str, Any]) -> None:
    """Make of a schema what is published of one that keeps unknown fields."""
    schema.pop("properties")
    schema["x-kubernetes-preserve-unknown-fields"] = True


OLDER = f"the CRD {PLURAL}.{GROUP} is older than this operator and lacks "
CASES: dict[str, tuple[Callable[[Discovery], object], list[tuple[str, bool]]]] = {
    "all is there": (lambda at: None, []),
    "no group": (
        lambda at: at.serve(),
        [(f"the CRD {plural}.{GROUP} is not installed", False) for plural in (PLURAL, SERVER_PLURAL)],
    ),
    "one kind": (lambda at: at.drop(SERVER_PLURAL), [(f"the CRD {SERVER_PLURAL}.{GROUP} is not installed", False)]),
    "other versions": (
        lambda at: at.serve("v1beta1", "v1"),
        [(f"the CRD {plural}.{GROUP} serves v1beta1, v1, not v1alpha1", False) for plural in (PLURAL, SERVER_PLURAL)],
    ),
    "no status": (lambda at: at.drop(f"{PLURAL}/status"), [(f"{OLDER}the subresource status", True)]),
    "a field of the spec": (lambda at: at.without("spec.app.caPath"), [(f"{OLDER}`spec.app.caPath`", True)]),
    "an object with its fields": (lambda at: at.without("spec.adoptFrom"), [(f"{OLDER}`spec.adoptFrom`", True)]),
    "fields of items": (
        lambda at: at.without("status.conditions.[].observedGeneration"),
        [(f"{OLDER}`status.conditions[].observedGeneration`", True)],
    ),
    "no field selectors": (
        lambda at: at.unselectable(),
        [(f"{OLDER}the field selector `spec.connection.serverRef.name`", True)],
    ),
    "a field selector and its field": (
        lambda at: at.unselectable(without="spec.connection.serverRef"),
        [(f"{OLDER}`spec.connection.serverRef`", True)],
    ),
    "a field of the other kind": (
        lambda at: at.without("status.rights", SERVER_PLURAL),
        [(f"the CRD {SERVER_PLURAL}.{GROUP} is older than this operator and lacks `status.rights`", True)],
    ),
    "unknown fields are kept": (
        lambda at: _open(at.documents[SCHEMAS]["components"]["schemas"][PLURAL]["properties"]["status"]), []
    ),
    "schemas that are closed to us": (lambda at: at.refusals.update({SCHEMAS: ApiError(403, "Forbidden")}), []),
    "schemas that are not published yet": (lambda at: at.documents.pop(SCHEMAS), []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_what_is_lacking_is_named(case: str) -> None:
    take, expected = CASES[case]
    at = Discovery()
    take(at)
    assert [(lack.text, lack.served) for lack in await lacking(at, (PLURAL, SERVER_PLURAL))] == expected


async def test_many_fields_are_counted() -> None:
    at = Discovery()
    fields = [path for path in paths(PLURAL) if path.startswith("status.") and path.count(".") == 1]
    for path in fields:
        at.without(path)
    (lack,) = await lacking(at, (PLURAL,))
    assert lack.text.count("`") == 2 * NAMED
    assert lack.text.endswith(f", and {len(fields) - NAMED} more fields")


async def test_of_a_kind_that_is_not_served_nothing_is_said() -> None:
    at = Discovery()
    at.drop(SERVER_PLURAL)
    assert await lacking(at, (PLURAL,)) == ()


@pytest.mark.parametrize("path", [GROUPS, RESOURCES, SCHEMAS])
async def test_an_outage_is_none_of_the_crds(path: str) -> None:
    at = Discovery()
    at.refusals[path] = ApiUnavailable("away")
    with pytest.raises(ApiUnavailable):
        await lacking(at, (PLURAL,))


@pytest.mark.parametrize("path", [GROUPS, RESOURCES])
async def test_discovery_that_is_refused_is_told(path: str) -> None:
    at = Discovery()
    at.refusals[path] = ApiError(403, "Forbidden")
    with pytest.raises(ApiError):
        await lacking(at, (PLURAL,))


@pytest.mark.parametrize("plural", crd.KINDS)
def test_what_is_selected_by_is_selectable(plural: str) -> None:
    selectable = {each["jsonPath"] for each in crd.version(plural).get("selectableFields", ())}
    assert {f".{path}" for path in SELECTED[plural]} <= selectable


def test_lists_are_narrowed_by_nothing_else() -> None:
    """What a list is narrowed by is compared: nobody writes such a field into a request by himself."""
    sources = [path.read_text() for path in (ROOT / "operator" / "cipher_operator").rglob("*.py")]
    narrowed = [text for text in sources if "fieldSelector=" in text]
    assert narrowed and all("SELECTED_SERVER}=" in text for text in narrowed)


@pytest.mark.parametrize("plural", crd.KINDS)
def test_the_fields_are_those_of_the_crd(plural: str) -> None:
    both = [path for part in ("spec", "status") for path, _ in crd.nodes(crd.schema(part, plural), part)]
    assert sorted(paths(plural)) == sorted(path for path in both if not path.endswith((".*", ".[]")))
