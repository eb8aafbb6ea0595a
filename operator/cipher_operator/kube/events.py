"""Events of the `events.k8s.io` API: what people read under `kubectl describe`."""

import logging
import secrets
import socket
from datetime import UTC, datetime

from cipher_operator.api.names import API_VERSION, KIND, REPORTING_CONTROLLER
from cipher_operator.api.spec import Resource
from cipher_operator.kube.port import ApiError, ApiUnavailable, Json, Kube

MAX_NOTE = 1_024
"""Bytes: the API server refuses longer notes."""
MAX_ACTION = 128

logger = logging.getLogger(__name__)


async def post_event(kube: Kube, resource: Resource, *, type_: str, reason: str, note: str, action: str) -> None:
    """Post an event about a storage, `type_` `Normal` or `Warning`. Never raises: an event is a courtesy."""
    now = datetime.now(UTC)
    body: Json = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{resource.name}.{secrets.token_hex(8)}", "namespace": resource.namespace},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": socket.gethostname()[:128] or "cipher-operator",
        "action": action[:MAX_ACTION],
        "reason": reason[:128],
        "type": type_,
        "note": note.encode()[:MAX_NOTE].decode(errors="ignore"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": resource.namespace,
            "name": resource.name,
            "uid": resource.uid,
            "resourceVersion": resource.resource_version,
        },
    }
    try:
        await kube.post(f"/apis/events.k8s.io/v1/namespaces/{resource.namespace}/events", body)
    except (ApiError, ApiUnavailable) as error:
        about = {"storage": f"{resource.namespace}/{resource.name}"}
        logger.debug("event %s was not posted: %s", reason, error, extra=about)
