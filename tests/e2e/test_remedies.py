"""The SQL in a message: it can be run as it stands, whatever the names in it are, and it helps."""

import re
from functools import partial

from devcluster import PostgresServer
from support.cluster import Namespace, wait_until
from support.hostile import HOSTILE, MARK, connection, handled, make_admin, write_secret
from support.sql_log import outside_quotes

REMEDY = re.compile(r"[Rr]un(?: as [^:]*)?: (.*?);?(?: \(as [^)]*\).*| \(SQLSTATE.*)?$")


def test_the_remedy_in_a_message_is_safe_to_run_and_helps(namespace: Namespace, server: PostgresServer) -> None:
    # An administrator pastes it into psql: a name that gets out of its quotes would run as a superuser.
    for number, (case, value) in enumerate(HOSTILE.items()):
        admin = f"plain {value}"[:60]
        make_admin(server, admin, "secret", "NOSUPERUSER")
        secret = write_secret(namespace, server, url=True, user=admin, password="secret", database="postgres")
        namespace.storage(f"s{number}", {"connection": connection(secret), "database": {"name": f"helped{number}"}})
        namespace.wait_reason(f"s{number}", "InsufficientPrivilege")
        for attempt in range(4):
            found = REMEDY.search(namespace.condition(f"s{number}")["message"])
            assert found is not None, namespace.condition(f"s{number}")
            assert MARK not in outside_quotes(found[1]), (case, found[1])
            server.execute(found[1])
            namespace.annotate(f"s{number}", "reconcile-requested-at", str(attempt))
            wait_until(partial(handled, namespace, f"s{number}", str(attempt)), "it looked again")
            if namespace.condition(f"s{number}")["status"] == "True":
                break
        namespace.wait_ready(f"s{number}")


def test_the_remedy_for_a_missing_database_is_quoted(namespace: Namespace, server: PostgresServer) -> None:
    for number, value in enumerate(HOSTILE.values()):
        secret = write_secret(namespace, server, url=False, database=f"none {value}")
        namespace.storage(f"s{number}", {"connection": connection(secret), "database": {"create": False}})
    for number in range(len(HOSTILE)):
        namespace.wait_reason(f"s{number}", "DatabaseMissing", 120)
        _, _, remedy = namespace.condition(f"s{number}")["message"].partition(" or run: ")
        assert MARK in remedy
        assert MARK not in outside_quotes(remedy)
