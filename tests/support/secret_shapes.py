"""Secrets as other tools write them, key by key, for a login at any server.

Read off CloudNativePG 1.26 and later (pkg/specs/secrets.go), Crunchy's operator 5 (generatePostgresUserSecret),
Zalando's, Crossplane's provider-upjet-aws (config/rds) and provider-aws, provider-sql's Role, External Secrets over
RDS's own master Secret, and Vault's operator over `database/static-creds`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

Data = Mapping[str, bytes]


@dataclass(frozen=True)
class Login:
    """What all of them describe."""

    host: str = "db.example.com"
    port: int = 5432
    user: str = "postgres"
    password: str = "Ab1^|<x>{y}@z/;,%"
    database: str = "app"


def _encoded(values: Mapping[str, str]) -> Data:
    return {key: value.encode() for key, value in values.items()}


def _go_url(login: Login, host: str, database: str) -> str:
    """Return the URL as Go's url.UserPassword writes it: some delimiters stay, a lone `*` as path does too."""
    secret = quote(login.password, safe="$&+,;=")
    return f"postgresql://{quote(login.user)}:{secret}@{host}:{login.port}/{database}"


def _jdbc(login: Login, host: str, database: str) -> str:
    query = urlencode({"password": login.password, "user": login.user})
    return f"jdbc:postgresql://{host}:{login.port}/{database}?{query}"


def cnpg(login: Login, database: str | None = None) -> Data:
    """The app's Secret; `host` in it is the Service alone, which is found from its own namespace only."""
    name = database or login.database
    service = login.host.split(".")[0] if "." in login.host and not login.host[0].isdigit() else login.host
    return _encoded(
        {
            "username": login.user,
            "user": login.user,
            "password": login.password,
            "dbname": name,
            "host": service,
            "port": str(login.port),
            "pgpass": f"{service}:{login.port}:{name}:{login.user}:{login.password}\n",
            "uri": _go_url(login, login.host, name),
            "jdbc-uri": _jdbc(login, login.host, name),
            "fqdn-uri": _go_url(login, login.host, name),
            "fqdn-jdbc-uri": _jdbc(login, login.host, name),
        }
    )


def cnpg_superuser(login: Login) -> Data:
    """The superuser's belongs to no database, and says `*`."""
    return cnpg(login, "*")


def crunchy(login: Login) -> Data:
    pooler = "hippo-pgbouncer.postgres-operator.svc"
    return _encoded(
        {
            "host": login.host,
            "port": str(login.port),
            "user": login.user,
            "password": login.password,
            "verifier": "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy",
            "dbname": login.database,
            "uri": _go_url(login, login.host, login.database),
            "jdbc-uri": _jdbc(login, login.host, login.database),
            "pgbouncer-host": pooler,
            "pgbouncer-port": "5432",
            "pgbouncer-uri": _go_url(login, pooler, login.database),
            "pgbouncer-jdbc-uri": _jdbc(login, pooler, login.database) + "&prepareThreshold=0",
        }
    )


def zalando(login: Login) -> Data:
    return _encoded({"username": login.user, "password": login.password})


def crossplane(login: Login) -> Data:
    """An Instance of rds.aws.upbound.io: `endpoint` has the port behind it, `host` and `address` have not."""
    return _encoded(
        {
            "attribute.password": login.password,
            "endpoint": f"{login.host}:{login.port}",
            "address": login.host,
            "host": login.host,
            "username": login.user,
            "port": str(login.port),
            "password": login.password,
        }
    )


def crossplane_sql_role(login: Login) -> Data:
    """provider-sql's Role, and an RDSInstance of the older provider-aws."""
    return _encoded(
        {"username": login.user, "password": login.password, "endpoint": login.host, "port": str(login.port)}
    )


def rds_managed(login: Login) -> Data:
    """RDS's master Secret through External Secrets' `dataFrom.extract`: neither host nor database is in it."""
    return _encoded({"username": login.user, "password": login.password})


def rds_managed_as_document(login: Login) -> Data:
    """The same without `extract`, or through a CSI driver: the JSON document under one key."""
    return _encoded({"credentials": json.dumps({"username": login.user, "password": login.password})})


def vault(login: Login) -> Data:
    """Vault's operator over a static role; `_raw` is the whole answer."""
    answer = {"username": login.user, "password": login.password, "rotation_period": 86400, "ttl": 3600}
    return _encoded(
        {
            "_raw": json.dumps({"data": answer}),
            "username": login.user,
            "password": login.password,
            "last_vault_rotation": "2026-01-31T12:00:00Z",
            "rotation_period": "86400",
            "ttl": "3600",
        }
    )


SHAPES: Mapping[str, Callable[[Login], Data]] = {
    "cnpg": cnpg_superuser,
    "cnpg-app": cnpg,
    "crunchy": crunchy,
    "zalando": zalando,
    "crossplane": crossplane,
    "crossplane-sql-role": crossplane_sql_role,
    "rds-managed": rds_managed,
    "vault": vault,
}
"""By the name of the example for it, where there is one."""
