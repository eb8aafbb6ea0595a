"""Objects that somebody makes deep."""

import json
from typing import Any

from support.cluster import Namespace


def create_nested(namespace: Namespace, plural: str, name: str, **rest: Any) -> None:
    """Create an object whose `managedFields`, which anybody may write, are deeper than Python's decoder goes."""
    api, kind = ("v1", "Secret") if plural == "secrets" else ("storage.cipher.dev/v1alpha1", "CipherStorage")
    managed = {"manager": "x", "operation": "Update", "apiVersion": api, "fieldsType": "FieldsV1", "fieldsV1": "DEEP"}
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "managedFields": [managed]}, **rest}
    text = json.dumps(body).replace('"DEEP"', '{"f:a":' * 5_000 + "{}" + "}" * 5_000)
    namespace.plane.kubectl("create", "--raw", namespace.path(plural), "-f", "-", input=text)
