"""Secrets and ConfigMaps on a real API server."""

import base64
from typing import Any

import pytest

from cipher_operator.api.names import IN_USE_FINALIZER, SECRET_TYPE
from cipher_operator.api.spec import Resource
from cipher_operator.kube import finalizers
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import ApiError
from cipher_operator.kube.secrets import (
    SecretContent,
    SecretObject,
    create_secret,
    decode_configmap,
    decode_secret,
    get_configmap,
    get_secret,
    replace_secret,
    secret_path,
)
from support.cluster import Namespace

DATA = {"password": b"s3cr3t", "ca": b"\x00\xff\n"}


def owner(uid: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherStorage",
        "name": "chat",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


async def create(kube: KubeClient, resource: Resource) -> SecretObject:
    content = SecretContent(SECRET_TYPE, DATA, {"a": "b"}, {"c": "s3cr3t"}, owner(resource.uid))
    return await create_secret(kube, resource.namespace, "chat-cipher", content)


async def hold(kube: KubeClient, resource: Resource) -> None:
    found = await finalizers.find(kube, secret_path(resource.namespace, "chat-cipher"))
    assert found is not None
    await finalizers.add(kube, found, IN_USE_FINALIZER)


async def let_go(kube: KubeClient, resource: Resource) -> None:
    found = await finalizers.find(kube, secret_path(resource.namespace, "chat-cipher"))
    assert found is not None
    await finalizers.remove(kube, found, IN_USE_FINALIZER)


def owners(secret: SecretObject) -> list[str]:
    return [str(owner["uid"]) for owner in secret.owners]


async def test_what_is_created_is_what_is_read(kube: KubeClient, resource: Resource) -> None:
    assert await get_secret(kube, resource.namespace, "chat-cipher") is None
    created = await create(kube, resource)
    read = await get_secret(kube, resource.namespace, "chat-cipher")
    assert read == created
    assert (dict(read.data), read.type, owners(read)) == (DATA, SECRET_TYPE, [resource.uid])
    assert (read.labels, read.annotations, read.finalizers) == ({"a": "b"}, {"c": "s3cr3t"}, ())


async def test_its_repr_holds_nothing_of_it(kube: KubeClient, resource: Resource) -> None:
    secret = await create(kube, resource)
    assert repr(secret) == str(secret) == f"SecretObject({resource.namespace}/chat-cipher)"
    assert "s3cr3t" not in repr(SecretContent(SECRET_TYPE, DATA, {}, {"c": "s3cr3t"}, {}))


async def test_a_name_that_is_taken_is_not_overwritten(
    kube: KubeClient, namespace: Namespace, resource: Resource
) -> None:
    namespace.secret("chat-cipher", {"theirs": "1"})
    with pytest.raises(ApiError, match="409 AlreadyExists"):
        await create(kube, resource)
    read = await get_secret(kube, resource.namespace, "chat-cipher")
    assert read is not None and dict(read.data) == {"theirs": b"1"}


async def test_replace_keeps_type_and_finalizers_and_nothing_else(kube: KubeClient, resource: Resource) -> None:
    created = await create(kube, resource)
    await hold(kube, resource)
    held = await get_secret(kube, resource.namespace, "chat-cipher")
    assert held is not None
    content = SecretContent("another type", {"password": b"new"}, {"d": "e"}, {}, owner("1-2-3"))
    replaced = await replace_secret(kube, held, content)
    assert (dict(replaced.data), replaced.labels, replaced.annotations) == ({"password": b"new"}, {"d": "e"}, {})
    assert (replaced.type, replaced.finalizers, owners(replaced)) == (SECRET_TYPE, (IN_USE_FINALIZER,), ["1-2-3"])
    assert replaced.uid == created.uid
    await let_go(kube, resource)


async def test_replace_is_refused_where_somebody_else_wrote_meanwhile(
    kube: KubeClient, namespace: Namespace, resource: Resource
) -> None:
    created = await create(kube, resource)
    namespace.plane.kubectl("-n", namespace.name, "label", "secret", "chat-cipher", "x=y")
    with pytest.raises(ApiError, match="409 Conflict"):
        await replace_secret(kube, created, SecretContent(SECRET_TYPE, {}, {}, {}, owner("1")))


async def test_replace_is_refused_where_the_secret_was_made_again(
    kube: KubeClient, namespace: Namespace, resource: Resource
) -> None:
    created = await create(kube, resource)
    namespace.delete("secrets", "chat-cipher")
    namespace.secret("chat-cipher", {"theirs": "1"})
    with pytest.raises(ApiError, match="409 Conflict"):
        await replace_secret(kube, created, SecretContent(SECRET_TYPE, {}, {}, {}, owner("1")))


async def test_a_deleted_secret_in_use_stays_until_it_is_let_go(
    kube: KubeClient, namespace: Namespace, resource: Resource
) -> None:
    await create(kube, resource)
    for _ in range(2):
        await hold(kube, resource)
    namespace.delete("secrets", "chat-cipher")
    held = await get_secret(kube, resource.namespace, "chat-cipher")
    assert held is not None and held.data == DATA
    found = await finalizers.find(kube, secret_path(resource.namespace, "chat-cipher"))
    assert found is not None and found.deleting
    for _ in range(2):
        await finalizers.remove(kube, found, IN_USE_FINALIZER)
    assert await finalizers.find(kube, found.path) is None
    assert await get_secret(kube, resource.namespace, "chat-cipher") is None


async def test_configmaps(kube: KubeClient, namespace: Namespace) -> None:
    assert await get_configmap(kube, namespace.name, "ca") is None
    body = {
        "metadata": {"name": "ca"},
        "data": {"ca.crt": "PEM ü"},
        "binaryData": {"der": base64.b64encode(b"\xff").decode()},
    }
    namespace.request("POST", namespace.path("configmaps"), body)
    found = await get_configmap(kube, namespace.name, "ca")
    assert found is not None
    assert found.data == {"ca.crt": "PEM ü".encode(), "der": b"\xff"}


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {}}], ids=str)
def test_an_object_without_data_is_empty(body: dict[str, Any]) -> None:
    assert (decode_secret(body), decode_configmap(body)) == ({}, {})
