"""Inputs that change under a storage that is Ready: the connection Secret moves, to another server too."""

import time
from typing import Any

import psycopg
import pytest

from cipher_operator.core.connection.password import Password
from cipher_operator.core.marker import parse_marker
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from support.cluster import Namespace, ready_storage, wait_until
from support.provision import desired, superuser


@pytest.fixture
def own_server(postgres_server: Any) -> PostgresServer:
    """A server of the test's own."""
    started: PostgresServer = postgres_server(16)
    return started


async def restore(original: PostgresServer, copy: PostgresServer, database: str, user: str) -> None:
    """Bring the storage's objects to another server, its marker too, with the password of some time ago."""
    ((comment,),) = original.execute(f"SELECT shobj_description('{user}_owner'::regrole, 'pg_authid')")
    marker = parse_marker(comment)
    assert marker is not None
    older = Credential(user, Password("of-last-year"))
    await superuser(copy).run(desired(identity=marker.identity, database=database, user=user, credential=older))


async def test_a_copy_of_the_server_with_an_older_password_is_published_with_one_that_works(
    namespace: Namespace, server: PostgresServer, own_server: PostgresServer
) -> None:
    database = ready_storage(namespace, server, interval="1h")
    user = namespace.app_secret("chat")["username"]
    await restore(server, own_server, database, user)
    namespace.admin_secret(own_server)
    wait_until(lambda: namespace.app_secret("chat")["port"] == str(own_server.port), "pods are sent to the copy")
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()


@pytest.mark.parametrize("first", ["the Secret is deleted", "the storage moves"])
def test_a_secret_that_its_storage_has_left_is_held_no_more(
    namespace: Namespace, server: PostgresServer, first: str
) -> None:
    ready_storage(namespace, server, deletionPolicy="Delete", interval="1h")
    namespace.admin_secret(server, "pg-second")
    if first == "the Secret is deleted":
        namespace.delete("secrets", "pg-admin")
        assert namespace.get("secrets", "pg-admin") is not None, "it is in use"
    namespace.patch("chat", {"spec": {"connection": {"secretRef": {"name": "pg-second"}}}})

    def finalizers(name: str) -> list[str] | None:
        secret = namespace.get("secrets", name)
        return None if secret is None else secret["metadata"].get("finalizers", [])

    wait_until(lambda: finalizers("pg-second"), "the new one is held")
    expected: list[str] | None = None if first == "the Secret is deleted" else []
    wait_until(lambda: finalizers("pg-admin") == expected, lambda: f"the old one is free: {finalizers('pg-admin')}")


def test_an_app_secret_deleted_while_the_server_is_away_is_told_and_comes_back(
    namespace: Namespace, own_server: PostgresServer
) -> None:
    ready_storage(namespace, own_server)
    own_server.stop()
    namespace.delete("secrets", "chat-cipher")
    wait_until(lambda: namespace.condition("chat", "SecretPublished")["status"] == "False", "it is told")
    own_server.start()
    namespace.wait_ready("chat")
    assert namespace.condition("chat", "SecretPublished")["status"] == "True"
    psycopg.connect(namespace.app_secret("chat")["uri"]).close()


def test_pods_that_use_every_connection_of_their_login_are_no_failure(
    namespace: Namespace, server: PostgresServer
) -> None:
    database = ready_storage(namespace, server, user={"connectionLimit": 1}, interval="1h")
    with psycopg.connect(namespace.app_secret("chat")["uri"], autocommit=True) as pod:
        server.execute("DROP TABLE cipher_lists", database=database)
        namespace.annotate("chat", "reconcile-requested-at", "1")
        wait_until(
            lambda: (namespace.get("cipherstorages", "chat") or {})["status"].get("handledRequests"), "it was looked at"
        )
        ready = namespace.condition("chat")
        assert (ready["status"], ready["reason"]) == ("True", "Ready")
        assert "no free connection" in ready["message"]
        assert pod.execute("SELECT count(*) FROM cipher_lists").fetchall() == [(0,)], "healed all the same"
    namespace.annotate("chat", "reconcile-requested-at", "2")
    wait_until(lambda: "no free connection" not in namespace.condition("chat")["message"], "tested again")


async def test_a_new_address_is_not_published_while_its_login_cannot_be_tested(
    namespace: Namespace, server: PostgresServer, own_server: PostgresServer
) -> None:
    database = ready_storage(namespace, server, user={"connectionLimit": 1}, interval="1h")
    published = namespace.app_secret("chat")
    user = published["username"]
    await restore(server, own_server, database, user)
    own_server.execute(f"ALTER ROLE {user} PASSWORD '{published['password']}' CONNECTION LIMIT 1")
    with psycopg.connect(
        host=own_server.host, port=own_server.port, dbname=database, user=user, password=published["password"]
    ):
        namespace.admin_secret(own_server)
        namespace.wait_reason("chat", "TooManyConnections")
        assert namespace.app_secret("chat") == published
    namespace.wait_ready("chat")
    assert namespace.app_secret("chat")["port"] == str(own_server.port)


def test_the_login_published_last_outlives_a_new_storage_of_the_same_name(
    namespace: Namespace, server: PostgresServer
) -> None:
    database = ready_storage(namespace, server, interval="1h")
    uri = namespace.app_secret("chat")["uri"]
    namespace.delete("secrets", "chat-cipher")
    wait_until(lambda: namespace.get("secrets", "chat-cipher") is not None, "it is back, through the other login")
    for _ in range(2):
        uri, former = namespace.app_secret("chat")["uri"], uri
        assert uri != former
        time.sleep(3)
        namespace.delete("cipherstorages", "chat")
        wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "it is gone")
        # The garbage collector does it too, in its own time.
        namespace.plane.kubectl("-n", namespace.name, "delete", "secret", "chat-cipher", "--ignore-not-found")
        namespace.storage("chat", {"database": {"name": database}, "interval": "1h"})
        namespace.wait_ready("chat")
        psycopg.connect(uri).close()  # pods that still run with it
        psycopg.connect(namespace.app_secret("chat")["uri"]).close()


def test_an_immutable_app_secret_is_told_with_what_helps(namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server)
    before = namespace.app_secret("chat")
    freeze = ("patch", "secret", "chat-cipher", "--type=merge", "-p", '{"immutable": true}')
    namespace.plane.kubectl("-n", namespace.name, *freeze)
    namespace.annotate("chat", "rotate-requested-at", "1")
    wait_until(lambda: "immutable" in namespace.condition("chat")["message"], "it is told")
    psycopg.connect(before["uri"]).close()
    namespace.delete("secrets", "chat-cipher")
    namespace.wait_ready("chat")
    after = namespace.app_secret("chat")
    assert after["password"] != before["password"]
    psycopg.connect(after["uri"]).close()
    psycopg.connect(before["uri"]).close()


def test_a_status_that_somebody_else_writes_is_set_right_at_once(namespace: Namespace, server: PostgresServer) -> None:
    """As a backup that was restored with statuses has it."""
    ready_storage(namespace, server, interval="1h")
    true = (namespace.get("cipherstorages", "chat") or {})["status"]["conditions"]
    untrue = [{**true[0], "message": "as it was when the backup was made"}, *true[1:]]
    for _ in range(2):
        namespace.request(
            "PATCH", namespace.path("cipherstorages", "chat") + "/status", {"status": {"conditions": untrue}}
        )
        wait_until(lambda: namespace.condition("chat")["message"] == true[0]["message"], "it is true again")
        time.sleep(1.1)  # the API server notes the second in which somebody wrote
