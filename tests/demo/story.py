"""The steps of the demo, in order. Each raises when something is not as it must be."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from demo import app, screen, sharing
from demo.stage import REPOSITORY, STORAGE, Stage, StepError

_EXAMPLE = REPOSITORY / "manifests" / "examples" / "local.yaml"
_EXAMPLE_URL = re.compile(r"postgresql://postgres:PASSWORD@\S+")


@dataclass(frozen=True)
class Step:
    """One step: its title and what it does."""

    title: str
    play: Callable[[Stage], None]


def start_servers(stage: Stage) -> None:
    """Start the control plane and PostgreSQL side by side."""
    with ThreadPoolExecutor() as both:
        for started in [both.submit(stage.plane.start), both.submit(stage.postgres.start)]:
            started.result()
    version = json.loads(stage.kubectl("version", "-o", "json", show=False))["serverVersion"]["gitVersion"]
    screen.output(f"kube-apiserver {version}, PostgreSQL {stage.postgres.installation.version}, both on loopback")


def install(stage: Stage) -> None:
    """Install the CRD and the operator's manifests, as on any cluster."""
    for folder in ("crds", "manifests/base"):
        stage.kubectl("apply", "-k", str(REPOSITORY / folder))
    stage.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
    stage.use_namespace()


def start_operator(stage: Stage) -> None:
    """Start the operator with its own ServiceAccount's token; there is no kubelet here that would do it."""
    began = time.monotonic()
    stage.start_operator()
    screen.done(
        "the operator is ready, as system:serviceaccount:cipher-system:cipher-operator", time.monotonic() - began
    )


def apply_example(stage: Stage) -> None:
    """Apply the example, with the address of this PostgreSQL, and see it turn Ready."""
    began = time.monotonic()
    _apply_example(stage, "kubectl apply -f manifests/examples/local.yaml")
    stage.wait_for("Ready", since=began)


def describe(stage: Stage) -> None:
    """Show conditions and events as kubectl describes them."""
    text = stage.kubectl("describe", "cstore", STORAGE, show=False)
    screen.command(f"kubectl describe cstore {STORAGE}")
    screen.output(text[text.index("\nStatus:") + 1 :])


def show_secret(stage: Stage) -> None:
    """Show what the app is given, with the values masked."""
    screen.say(f"Secret {app.APP_SECRET}, values masked; `envFrom` gives all of it to the app")
    screen.table([(key, screen.masked()) for key in sorted(app.secret(stage))])


def use_it(stage: Stage) -> None:
    """Log in with the published URL, look at the tables and write a row."""
    app.show_relations(stage)
    app.write(stage, "messages:before")


def stop_server(stage: Stage) -> None:
    """Stop PostgreSQL, see it said, start it again."""
    screen.say("PostgreSQL is stopped")
    stage.postgres.stop()
    began = time.monotonic()
    stage.ask("reconcile")
    stage.wait_for("ConnectionRefused", since=began)
    screen.say("PostgreSQL is started again; nobody touches the CipherStorage")
    stage.postgres.start()
    stage.wait_for("Ready")


def change_admin_password(stage: Stage) -> None:
    """Change the admin's password behind the operator's back, then mend the Secret."""
    password = secrets.token_urlsafe(12)
    screen.say("somebody changes the admin's password on the server")
    stage.postgres.execute(f"ALTER ROLE {stage.postgres.superuser} PASSWORD '{password}'")
    stage.postgres.password = password
    began = time.monotonic()
    stage.ask("reconcile")
    stage.wait_for("AuthenticationFailed", since=began)
    screen.say("the app has its own login and does not notice:")
    app.write(stage, "messages:meanwhile")
    screen.say("the Secret gets the new password")
    began = time.monotonic()
    _apply_example(stage, "kubectl apply -f manifests/examples/local.yaml")
    stage.wait_for("Ready", since=began)


def drop_relations(stage: Stage) -> None:
    """Drop a table and an index; both come back, the rows elsewhere stay."""
    screen.say("somebody drops a table and an index")
    drop = "DROP TABLE cipher_lists; DROP INDEX idx_cipher_store_updated_at"
    stage.postgres.execute(drop, database="cipher_db")
    screen.output(drop)
    began = time.monotonic()
    stage.wait_handled("reconcile", stage.ask("reconcile"))
    screen.done("looked at", time.monotonic() - began)
    app.show_relations(stage)
    screen.output(f"rows in cipher_store: {', '.join(app.rows(stage))}")
    stage.wait("the event DriftHealed", lambda: "DriftHealed" in _events(stage))
    stage.kubectl("get", "events", "--field-selector", "reason=DriftHealed", "-o", "custom-columns=NOTE:.message")


def drop_database(stage: Stage) -> None:
    """Drop the database: said, not papered over, until somebody asks to begin again."""
    screen.say("somebody drops the whole database")
    stage.postgres.execute("DROP DATABASE cipher_db WITH (FORCE)")
    began = time.monotonic()
    stage.ask("reconcile")
    stage.wait_for("DatabaseLost", since=began)
    if stage.postgres.execute("SELECT 1 FROM pg_database WHERE datname = 'cipher_db'"):
        raise StepError("the database was made anew without being asked for")
    screen.say("nothing was written. A person decides to begin again, empty:")
    began = time.monotonic()
    stage.ask("recreate")
    stage.wait_for("Ready", since=began)
    app.show_relations(stage)
    app.write(stage, "messages:after")


def delete_it(stage: Stage) -> None:
    """Delete the CipherStorage with deletionPolicy Delete: nothing of it stays on the server."""
    began = time.monotonic()
    stage.kubectl("delete", "cstore", STORAGE)
    left = stage.postgres.execute(
        "SELECT datname FROM pg_database WHERE datname = 'cipher_db'"
        " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'cipher%'"
    )
    if left:
        raise StepError(f"left on the server: {', '.join(str(row[0]) for row in left)}")
    screen.done("deletionPolicy Delete: database and logins are gone", time.monotonic() - began)


def _apply_example(stage: Stage, shown_as: str) -> None:
    url = stage.postgres.admin_url(sslmode="disable")
    # A function, since the replacement text would be searched for backslashes.
    manifest, found = _EXAMPLE_URL.subn(lambda _: url, _EXAMPLE.read_text())
    if found != 1:
        raise StepError("manifests/examples/local.yaml holds no connection URL to fill in")
    screen.command(shown_as)
    screen.output(stage.kubectl("apply", "-f", "-", input=manifest, show=False))


def _events(stage: Stage) -> str:
    with contextlib.suppress(OSError):
        return stage.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}", show=False)
    return ""


STEPS = (
    Step("Start a Kubernetes control plane and PostgreSQL", start_servers),
    Step("Install the CRD and the operator's RBAC", install),
    Step("Start the operator under its own ServiceAccount", start_operator),
    Step("Apply an admin URL and a CipherStorage", apply_example),
    Step("What the status says", describe),
    Step("What the app is given", show_secret),
    Step("The app logs in and writes", use_it),
    Step("Stop PostgreSQL, start it again", stop_server),
    Step("Change the admin password, then mend the Secret", change_admin_password),
    Step("Drop a table and an index", drop_relations),
    Step("Drop the database", drop_database),
    Step("Delete the CipherStorage", delete_it),
    Step("A platform team shares its server", sharing.share_a_server),
    Step("Two tenants without a Secret", sharing.two_tenants),
    Step("A tenant asks for more than he may have", sharing.beyond_a_limit),
    Step("Delete the server while it is used", sharing.end_of_sharing),
)
