"""A platform team's CipherServer and its tenants: runs against an API server in memory and a real PostgreSQL."""

from dataclasses import dataclass, field
from typing import Any

from cipher_operator.api.failures import STAGES, ConditionType
from cipher_operator.api.names import default_user_name
from cipher_operator.kube.events import CLUSTER_EVENTS
from cipher_operator.queue.following import Next
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.server import ServerReconciler
from support.runs import NAMESPACE, SERVERS, Runs

PROD = "prod"
STORAGES = "/apis/storage.cipher.dev/v1alpha1/cipherstorages"


@dataclass
class Tenants(Runs):
    """One operator's runs of storages that name the CipherServer `prod`."""

    server_runs: ServerReconciler = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.restart()
        for name in (SERVERS, CLUSTER_EVENTS):
            self.api.namespace(name)
        self.label(NAMESPACE)

    def restart(self) -> None:
        """Have runs that remember nothing."""
        self.reconciler = self.make()
        self.server_runs = ServerReconciler(self.around)

    # What people do.

    def platform(self, **spec: Any) -> None:
        """Create the CipherServer `prod`, with the superuser's login in its Secret."""
        self.api.secret(f"{PROD}-admin", {"CIPHER_PG_URL": self.server.admin_url(sslmode="disable")}, namespace=SERVERS)
        self.api.server(PROD, spec)

    def change_server(self, **spec: Any) -> None:
        self.api.change("cipherservers", PROD, {"spec": spec}, namespace="")

    def label(self, namespace: str, **labels: str) -> None:
        """Have a namespace with these labels, as the watch tells of it."""
        self.api.namespace(namespace)
        self.namespaces.saw(namespace, labels)

    def tenant(self, name: str = "chat", namespace: str = NAMESPACE, **spec: Any) -> None:
        """Create a storage on the CipherServer."""
        self.label(namespace)
        self.api.storage(name, {"connection": {"serverRef": {"name": PROD}}, **spec}, namespace=namespace)

    def forge(self, database: str, name: str = "chat", namespace: str = NAMESPACE) -> None:
        """Have the storage's status as one has it that was ready in this database, on a server of the tenant's own."""
        # Behind the API server's back: a patch of the object leaves its status as it is.
        stored = self.api.store.objects[STORAGES, namespace, name]
        seen = {"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        good = {"status": "True", "reason": "Ready", "message": "as it was"}
        stored["status"] = {
            "observedGeneration": 1,
            "conditions": [{"type": each, **good, **seen} for each in (ConditionType.READY, *STAGES)],
            "database": database,
            "user": default_user_name(namespace, name),
            "binding": {"name": f"{name}-cipher"},
            "serverVersion": "16.0",
        }

    def forget(self, name: str) -> None:
        """Have the storage's status as if it stood nowhere."""
        address = STORAGES, NAMESPACE, name
        stored = self.api.store.objects[address]
        left = {field: value for field, value in stored.get("status", {}).items() if field != "database"}
        # Another object: what was recorded is what was written.
        self.api.store.objects[address] = {**stored, "status": left}

    # Runs.

    async def look(self, name: str = "chat", namespace: str = NAMESPACE) -> tuple[str, str]:
        """Run one storage once; return status and reason of Ready."""
        ticket = Ticket(self.lanes, namespace)
        try:
            await self.reconciler.run((namespace, name), ticket)
        finally:
            ticket.close()
        return self.told(name, namespace)

    async def ready_tenant(self, name: str = "chat", namespace: str = NAMESPACE, **spec: Any) -> None:
        """Have a storage on the CipherServer Ready."""
        self.tenant(name, namespace, **spec)
        for _ in range(4):
            if await self.look(name, namespace) == ("True", "Ready"):
                return
        raise AssertionError(self.api.condition(name, namespace=namespace))

    async def look_at_server(self, name: str = PROD) -> Next:
        """Run the CipherServer once."""
        ticket = Ticket(self.lanes, "")
        try:
            return await self.server_runs.run(("", name), ticket)
        finally:
            ticket.close()

    async def gone(self, name: str = "chat", namespace: str = NAMESPACE) -> None:
        """Delete a storage that nothing holds, and have the run that the watch asks for then."""
        self.api.delete("cipherstorages", name, namespace=namespace)
        ticket = Ticket(self.lanes, namespace)
        assert (await self.reconciler.run((namespace, name), ticket)).gone
        ticket.close()

    # What is seen.

    def told(self, name: str = "chat", namespace: str = NAMESPACE) -> tuple[str, str]:
        ready = self.api.condition(name, namespace=namespace)
        return ready.get("status", ""), ready.get("reason", "")

    def text(self, name: str = "chat", namespace: str = NAMESPACE) -> str:
        """Return everything that the tenant can read of his storage: status and Events."""
        return f"{self.api.status(name, namespace=namespace)} {self.api.events(name, namespace=namespace)}"

    def server_status(self) -> dict[str, Any]:
        found = self.api.read("cipherservers", PROD, namespace="") or {}
        status: dict[str, Any] = found.get("status") or {}
        return status

    def server_ready(self) -> dict[str, Any]:
        conditions = self.server_status().get("conditions") or []
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def held(self, plural: str, name: str, namespace: str = "") -> bool:
        """Return whether our finalizer `in-use` is on an object."""
        found = self.api.read(plural, name, namespace=namespace)
        assert found is not None
        return "storage.cipher.dev/in-use" in (found["metadata"].get("finalizers") or ())

    def there(self) -> list[tuple[Any, ...]]:
        """Return what there is on the server: roles with what they may, databases with their owners and rights."""
        roles = self.sql(
            "SELECT rolname, rolsuper, rolcanlogin, rolconnlimit, shobj_description(oid, 'pg_authid'), "
            "ARRAY(SELECT roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1) "
            "FROM pg_roles r ORDER BY 1"
        )
        databases = self.sql(
            "SELECT datname, datdba::regrole::text, datacl::text, datconnlimit FROM pg_database ORDER BY 1"
        )
        return [*roles, *databases]
