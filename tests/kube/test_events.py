"""Events as people see them."""

import pytest

from cipher_operator.api.spec import Resource
from cipher_operator.kube import events
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.events import post_event
from devcluster import ControlPlane
from support.cluster import Namespace


async def test_an_event_is_shown_by_describe(kube: KubeClient, namespace: Namespace, resource: Resource) -> None:
    await post_event(kube, resource, type_="Warning", reason="ConnectionRefused", note="nobody", action="Reconcile")
    described = namespace.plane.kubectl("-n", namespace.name, "describe", "cipherstorage", "chat")
    line = next(line for line in described.splitlines() if "ConnectionRefused" in line)
    assert "Warning" in line and "nobody" in line


@pytest.mark.parametrize(
    "note",
    [pytest.param("x" * 5_000, id="too long"), pytest.param("ü" * 1_000, id="too long in bytes")],
)
async def test_a_long_note_is_cut(kube: KubeClient, namespace: Namespace, resource: Resource, note: str) -> None:
    await post_event(kube, resource, type_="Normal", reason="Ready", note=note, action="Reconcile")
    listed = namespace.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events")["items"]
    assert len(listed) == 1 and len(listed[0]["note"].encode()) == events.MAX_NOTE


async def test_nothing_is_raised_where_it_cannot_be_posted(
    plane: ControlPlane, namespace: Namespace, resource: Resource, caplog: pytest.LogCaptureFixture
) -> None:
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with KubeClient(await load_access({"KUBECONFIG": str(config)})) as nobody:
        with caplog.at_level("DEBUG"):
            await post_event(nobody, resource, type_="Normal", reason="Ready", note="", action="Reconcile")
    assert "event Ready was not posted: 403 Forbidden" in caplog.text
