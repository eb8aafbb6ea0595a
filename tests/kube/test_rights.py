"""Rights in words, and which of them an account has."""

import pytest

from cipher_operator.kube.port import Json
from cipher_operator.kube.rights import REVIEWS, WHO, Right, account, missing, named
from support.memory_api import MemoryApi

GROUP = "storage.cipher.dev"
LIST = Right("", "", "secrets", "", "list")
GET = Right("", "", "secrets", "", "get")
STATUS = Right("", GROUP, "cipherstorages/status", "", "patch")
LEASE = Right("home", "coordination.k8s.io", "leases", "cipher-operator", "update")

WORDS: dict[str, tuple[list[Right], str]] = {
    "one right": ([LIST], "list secrets in the whole cluster"),
    "verbs of one resource, in their order": ([LIST, GET], "get/list secrets in the whole cluster"),
    "a subresource in its group": ([STATUS], "patch cipherstorages.storage.cipher.dev/status in the whole cluster"),
    "one object": ([LEASE], "update leases.coordination.k8s.io 'cipher-operator' in namespace home"),
    "several places": (
        [LEASE, LIST],
        "list secrets in the whole cluster; update leases.coordination.k8s.io 'cipher-operator' in namespace home",
    ),
    "the same in several namespaces, and more in one": (
        [Right(place, "", "secrets", "", "list") for place in ("b", "a", "c")]
        + [Right("c", "", "configmaps", "", "get")],
        "list secrets in namespaces a, b; get configmaps, list secrets in namespace c",
    ),
}


@pytest.mark.parametrize("case", WORDS)
def test_rights_in_words(case: str) -> None:
    rights, words = WORDS[case]
    assert named(rights) == words


class Reviewer(MemoryApi):
    """An API server that grants what is in `granted`."""

    def __init__(self, *granted: Json) -> None:
        super().__init__()
        self.granted, self.asked = granted, 0

    async def post(self, path: str, body: Json) -> Json:
        if path == WHO:
            return {"status": {"userInfo": {"username": "system:serviceaccount:home:operator"}}}
        assert path == REVIEWS
        self.asked += 1
        return {"status": {"allowed": body["spec"]["resourceAttributes"] in self.granted}}


async def test_what_is_not_granted_is_missing() -> None:
    api = Reviewer(
        {"verb": "list", "resource": "secrets"},
        {"verb": "patch", "resource": "cipherstorages", "group": GROUP, "subresource": "status"},
        {
            "verb": "update",
            "resource": "leases",
            "group": "coordination.k8s.io",
            "namespace": "home",
            "name": "cipher-operator",
        },
    )
    assert await missing(api, [LIST, STATUS, LEASE]) == ()
    assert await missing(api, [STATUS, GET, LIST]) == (GET,)


async def test_an_account_is_known_by_its_name() -> None:
    assert await account(Reviewer()) == "system:serviceaccount:home:operator"
