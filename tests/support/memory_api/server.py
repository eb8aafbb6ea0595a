"""What the API server does with one request, from the path to the stored object. No clock, no waiting."""

import base64
import binascii
import uuid
from collections.abc import Callable
from copy import deepcopy

from cipher_operator.kube.port import JSON_PATCH, Json
from support.memory_api import answers
from support.memory_api.answers import Answer
from support.memory_api.kinds import NAMESPACES, Place, defaulted, violations
from support.memory_api.patches import json_patch, merge_patch
from support.memory_api.store import Store, address

NOW = "2026-01-01T00:00:00Z"
IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"
UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
Admission = Callable[[str, Place, Json], None]
"""Called with verb (CREATE, UPDATE), place and object before it is stored; raises Refused."""


class Server:
    """The verbs. `admission` is asked before each write."""

    def __init__(self, store: Store, admission: Admission) -> None:
        self.store, self._admission = store, admission

    def create(self, where: Place, body: Json) -> Answer:
        kind, made = where.kind, deepcopy(body)
        metadata = made.setdefault("metadata", {})
        name = metadata.get("name") or (metadata.get("generateName", "") and metadata["generateName"] + _suffix())
        if not name:
            raise answers.invalid(
                kind.kind,
                "",
                ("FieldValueRequired", "metadata.name", "Required value: name or generateName is required"),
            )
        self._open(where, name)
        if metadata.get("namespace", where.namespace) != where.namespace:
            raise answers.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if self.store.get(address(kind, where.namespace, name)) is not None:
            raise answers.exists(kind.qualified, name)
        made |= {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata |= {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": NOW}
        if kind.namespaced:
            metadata["namespace"] = where.namespace
        for unset in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(unset, None)
        if kind.custom:
            made.pop("status", None)
            metadata["generation"] = 1
        made = self._valid(where, made)
        self._admission("CREATE", where, made)
        metadata = made["metadata"]
        metadata["managedFields"] = [{"manager": "somebody", "operation": "Update", "fieldsV1": {"f:metadata": {}}}]
        return Answer(201, self.store.put(address(kind, where.namespace, name), made))

    def update(self, where: Place, body: Json) -> Answer:
        return self._write(where, self._existing(where), body)

    def patch(self, where: Place, patch: Json | list[Json], content_type: str) -> Answer:
        existing = self._existing(where)
        if content_type == JSON_PATCH:
            assert isinstance(patch, list)
            patched = json_patch(existing, patch)
        else:
            patched = merge_patch(existing, patch)
        return self._write(where, existing, patched, patched=True)

    def delete(self, where: Place) -> Answer:
        """Delete as a person does: at once, or when the last finalizer goes."""
        existing = self._existing(where)
        at = address(where.kind, where.namespace, where.name)
        metadata = existing["metadata"]
        waits = metadata.get("finalizers") or where.kind.plural == "namespaces"
        if not waits:
            self.store.remove(at)
            return Answer(200, answers.success(where.kind.plural, where.name, metadata["uid"]))
        if "deletionTimestamp" not in metadata:
            metadata |= {"deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0}
            if "generation" in metadata:
                metadata["generation"] += 1
            if where.kind.plural == "namespaces":
                existing["status"] = {"phase": "Terminating"}
            existing = self.store.put(at, existing)
        return Answer(200, existing)

    def get(self, where: Place) -> Json:
        return self._existing(where)

    def _existing(self, where: Place) -> Json:
        found = self.store.get(address(where.kind, where.namespace, where.name))
        if found is None:
            raise answers.not_found(where.kind.qualified, where.name)
        return found

    def _open(self, where: Place, name: str) -> None:
        """Refuse what is created in a namespace that is not there or about to go."""
        if not where.kind.namespaced:
            return
        found = self.store.get(address(NAMESPACES, "", where.namespace))
        if found is None:
            raise answers.not_found("namespaces", where.namespace)
        if "deletionTimestamp" in found["metadata"]:
            raise answers.terminating(where.kind.qualified, name, where.namespace)

    def _write(self, where: Place, existing: Json, body: Json, *, patched: bool = False) -> Answer:
        kind, wanted, before = where.kind, deepcopy(body), existing["metadata"]
        metadata = wanted.setdefault("metadata", {})
        version = metadata.get("resourceVersion")
        if kind.custom and not version:
            raise answers.invalid(
                kind.qualified,
                where.name,
                ("FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"),
            )
        if patched and metadata.get("uid") != before["uid"]:
            cause = ("FieldValueInvalid", "metadata.uid", f'Invalid value: "{metadata.get("uid")}": field is immutable')
            raise answers.invalid(kind.qualified_kind, where.name, cause)
        if metadata.get("uid", before["uid"]) != before["uid"]:
            raise answers.conflict(
                kind.qualified,
                where.name,
                f"StorageError: invalid object, Code: 4, Key: /registry/{kind.plural}/{where.namespace}/{where.name}, "
                f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {before['uid']}",
            )
        if version and version != before["resourceVersion"]:
            raise answers.conflict(kind.qualified, where.name)
        if where.subresource == "status":
            wanted = {**existing, "status": wanted.get("status")}
        else:
            kept = (
                "uid",
                "name",
                "namespace",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
                "managedFields",
            )
            wanted["metadata"] = {**metadata, **{field: before[field] for field in kept if field in before}}
            wanted |= {"apiVersion": existing["apiVersion"], "kind": existing["kind"]}
            if kind.custom:
                wanted.pop("status", None)
                if "status" in existing:
                    wanted["status"] = existing["status"]
            self._finalizers(where, before, wanted["metadata"])
        wanted["metadata"]["resourceVersion"] = before["resourceVersion"]
        wanted = self._valid(where, wanted)
        self._changeable(where, existing, wanted)
        self._admission("UPDATE", where, wanted)
        if kind.custom and wanted.get("spec") != existing.get("spec"):
            wanted["metadata"]["generation"] += 1
        if wanted == existing:
            return Answer(200, existing)
        at = address(kind, where.namespace, where.name)
        if "deletionTimestamp" in before and not wanted["metadata"].get("finalizers"):
            self.store.remove(at, wanted)
            return Answer(200, wanted)
        return Answer(200, self.store.put(at, wanted))

    def _finalizers(self, where: Place, before: Json, after: Json) -> None:
        if not after.get("finalizers"):
            after.pop("finalizers", None)
        new = [each for each in after.get("finalizers") or () if each not in (before.get("finalizers") or ())]
        if new and "deletionTimestamp" in before:
            listed = ", ".join(f'"{each}"' for each in new)
            raise answers.invalid(
                where.kind.qualified_kind,
                where.name,
                (
                    "FieldValueForbidden",
                    "metadata.finalizers",
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{listed}}}",
                ),
            )

    def _valid(self, where: Place, body: Json) -> Json:
        """Return the object with its defaults; raises Refused for what the schema does not allow."""
        if where.kind.plural == "secrets":
            return _secret(body)
        if where.kind.schema is None:
            return body
        properties = where.kind.schema["properties"]
        parts = {name: properties[name] for name in ("spec", "status") if name in properties}
        stored = {**body, **defaulted({"properties": parts}, {name: body[name] for name in parts if body.get(name)})}
        found = [
            each for name, schema in parts.items() if name in stored for each in violations(schema, stored[name], name)
        ]
        if found:
            found.append(("FieldValueInvalid", "<nil>", f"Invalid value: null: {UNCHECKED}"))
            raise answers.invalid(where.kind.qualified_kind, body["metadata"]["name"], *found)
        return stored

    def _changeable(self, where: Place, before: Json, after: Json) -> None:
        if where.kind.plural not in ("secrets", "configmaps"):
            return
        found: list[tuple[str, str, str]] = []
        if before.get("immutable"):
            if not after.get("immutable"):
                found.append(("FieldValueForbidden", "immutable", IMMUTABLE))
            for name in ("data", "binaryData"):
                if before.get(name) != after.get(name):
                    found.append(("FieldValueForbidden", name, IMMUTABLE))
        if before.get("type") != after.get("type"):
            found.insert(0, ("FieldValueInvalid", "type", f'Invalid value: "{after.get("type")}": field is immutable'))
        if found:
            raise answers.invalid(where.kind.qualified_kind, where.name, *found)


def _secret(body: Json) -> Json:
    stored = {**body}
    texts = stored.pop("stringData", None) or {}
    data = {
        **(stored.get("data") or {}),
        **{key: base64.b64encode(value.encode()).decode() for key, value in texts.items()},
    }
    for value in data.values():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise answers.bad_request(
                'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0'
            ) from None
    stored.pop("data", None)
    if data:
        stored["data"] = data
    stored["type"] = stored.get("type") or "Opaque"
    return stored


def _suffix() -> str:
    return uuid.uuid4().hex[:5]
