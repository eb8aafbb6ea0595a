"""Requests that a storage can never carry out: said once, and not tried for ever."""

import time

import psycopg
import pytest

from devcluster import PostgresServer
from support.cluster import Namespace, Operator, wait_until

MODES = {
    "the administrator's own login": ({"mode": "Shared"}, ["revoke-previous-requested-at", "rotate-requested-at"]),
    "a password that the user brings": (
        {"passwordSecretRef": {"name": "mine", "key": "password"}},
        ["rotate-requested-at"],
    ),
}
HANDLED = {"rotate-requested-at": "rotate", "revoke-previous-requested-at": "revokePrevious"}


@pytest.mark.parametrize("mode", list(MODES))
def test_a_request_without_a_password_of_ours_is_told_and_done_with(
    namespace: Namespace, server: PostgresServer, operator: Operator, mode: str
) -> None:
    user, annotations = MODES[mode]
    database = namespace.name.replace("-", "_")
    server.execute(f'CREATE DATABASE "{database}"')
    namespace.admin_secret(server, database=database)
    namespace.secret("mine", {"password": "brought-along-1"})
    namespace.storage("chat", {"user": user, "interval": "1h"})
    namespace.wait_ready("chat")
    before = namespace.app_secret("chat")
    namespace.patch(
        "chat", {"metadata": {"annotations": {f"storage.cipher.dev/{annotation}": "1" for annotation in annotations}}}
    )
    wait_until(
        lambda: (
            (namespace.get("cipherstorages", "chat") or {})["status"].get("handledRequests")
            == {HANDLED[annotation]: "1" for annotation in annotations}
        ),
        "they are done with",
    )
    wait_until(lambda: namespace.events("chat").count("RequestIgnored") == len(annotations), "an event for each")
    assert namespace.app_secret("chat") == before
    psycopg.connect(before["uri"]).close()
    runs = operator.log().count(f"{namespace.name}/chat")
    time.sleep(4)
    assert operator.log().count(f"{namespace.name}/chat") == runs, "nothing is tried again"
