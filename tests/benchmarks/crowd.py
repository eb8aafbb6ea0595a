"""Thousands of storages that are Ready already: one made by the operator, the others its SQL, Secret and status under
other names, put there without it.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from benchmarks.captured import Captured, captured, execute, other_words, replaced
from benchmarks.measured import Stage
from benchmarks.seeding import Object, Seeder, in_parallel, path
from devcluster import PostgresServer
from support.cluster import Namespace

FIRST, MODEL = "scale-000", "model-00000"
PER_NAMESPACE = 100
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 9))


@dataclass(frozen=True)
class Model:
    """The storage that the operator made, with its app Secret, and what it sent for it."""

    storage: Object
    secret: Object
    sent: Captured


def spec_of(database: str, own: str) -> Object:
    return {
        "connection": {"secretRef": {"name": "pg-admin"}},
        "database": {"name": database, "create": False},
        "schema": own,
        "user": {"name": own},
        "interval": "24h",
    }


def database_of(namespace: str) -> str:
    return namespace.replace("-", "_")


def make_database(server: PostgresServer, name: str) -> None:
    server.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")


def admin_secret(namespace: Namespace, server: PostgresServer, host: str) -> None:
    url = server.admin_url(sslmode="disable").replace(f"@{server.host}:", f"@{host}:")
    namespace.secret("pg-admin", {"CIPHER_PG_URL": url})


def make_model(ground: Stage, namespace: Namespace, server: PostgresServer) -> Model:
    operator = ground.operator().start()
    try:
        server.mark_log()
        namespace.storage(MODEL, spec_of(database_of(FIRST), "model_00000"))
        namespace.wait_ready(MODEL, 60)
        time.sleep(2)
    finally:
        operator.stop()
    storage, secret = namespace.get("cipherstorages", MODEL), namespace.get("secrets", f"{MODEL}-cipher")
    assert storage is not None and secret is not None
    words = (MODEL, "model_00000", storage["metadata"]["uid"])
    sent = captured(server.log_text(), words, {})
    # Nothing of this is to be logged ten thousand times.
    for setting in ("log_statement = 'none'", "log_connections = off", "log_disconnections = off"):
        server.execute(f"ALTER SYSTEM SET {setting}")
    server.execute("SELECT pg_reload_conf()")
    return Model(storage, secret, sent)


def words_for(model: Model, number: int, namespace: str, uid: str) -> dict[str, str]:
    """Return what the model's words become for another storage."""
    *_, old_uid = model.sent.words
    places = {FIRST: namespace, database_of(FIRST): database_of(namespace)}
    return {**other_words(model.sent, number), old_uid: uid, **places}


async def seed_cluster(ground: Stage, model: Model, numbers: list[int], where: Callable[[int], str]) -> dict[int, str]:
    """Create storages, their app Secrets and their status; return the uids by number."""
    seeder = Seeder(ground.plane)
    bodies = [
        (where(n), {"metadata": {"name": f"model-{n:05d}"}, "spec": spec_of(database_of(where(n)), f"model_{n:05d}")})
        for n in numbers
    ]
    made = await seeder.storages(bodies)
    uids = {number: storage["metadata"]["uid"] for number, storage in zip(numbers, made, strict=True)}
    status = json.dumps(model.storage["status"])
    async with seeder.session() as send:

        async def fill(number: int) -> None:
            namespace = where(number)
            words = words_for(model, number, namespace, uids[number])
            await send("POST", path(namespace, "secrets"), app_secret(model, words, host_of(namespace)))
            target = path(namespace, "cipherstorages", f"model-{number:05d}", "status")
            await send("PATCH", target, {"status": json.loads(replaced(status, words))})

        await in_parallel(fill, numbers)
    return uids


def app_secret(model: Model, words: Mapping[str, str], host: str) -> Object:
    """Return the model's app Secret under other names, for a server at another address."""
    metadata = {key: model.secret["metadata"].get(key) for key in ("name", "labels", "annotations", "ownerReferences")}
    kept = {"metadata": metadata, "type": model.secret["type"]}
    secret: Object = json.loads(replaced(json.dumps(kept), words))
    secret["data"] = {}
    for key, value in model.secret["data"].items():
        plain = replaced(base64.b64decode(value).decode(), words).replace(HOSTS[0], host)
        secret["data"][key] = base64.b64encode(plain.encode()).decode()
    return secret


def host_of(namespace: str) -> str:
    """Return at which address the storages of a namespace find their server."""
    return HOSTS[int(namespace.rpartition("-")[2]) % len(HOSTS)]


def seed_server(server: PostgresServer, model: Model, words: Mapping[str, list[dict[str, str]]]) -> None:
    """Send the model's writes for other storages, by namespace: grants on one database cannot be made side by side."""
    messages = model.sent.writes(server.superuser)

    def seed(namespace: str) -> None:
        url = server.admin_url(database_of(namespace), sslmode="disable")
        with psycopg.connect(url, autocommit=True) as connection:
            for each in words[namespace]:
                for message in messages:
                    execute(connection, replaced(message, each))
            connection.execute("VACUUM ANALYZE")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(seed, words))
