"""What `secrets.watch: servers` is to render, for the cases of the values."""

from __future__ import annotations

from collections.abc import Callable

from delivery.rendering import NAMESPACE, Objects, variables
from manifests.manifest_files import REPOSITORY, documents

APP_SECRETS = "cipher-operator-app-secrets"


def watches_servers(objects: Objects) -> bool:
    """Return whether the operator watches the Secrets of servers alone, may no more, and is fenced."""
    rules = objects["ClusterRole", "", "cipher-operator"]["rules"]
    policies = {name for kind, _, name in objects if kind == "ValidatingAdmissionPolicyBinding"}
    return (
        variables(objects)["CIPHER_OPERATOR_WATCH_SECRETS"] == "servers"
        and ["secrets"] not in [rule["resources"] for rule in rules]
        and ("Role", NAMESPACE, "cipher-operator-servers") in objects
        and ("ClusterRoleBinding", "", APP_SECRETS) in objects
        and policies == {"cipher-operator-fence", "cipherstorage-servers-only"}
    )


def app_secrets_only_in(namespaces: list[str]) -> Callable[[Objects], bool]:
    """Return a check that only these namespaces let the operator to app Secrets."""
    (served,) = documents((REPOSITORY / "manifests/overlays/servers-only/served/rolebinding.yaml").read_text())

    def check(objects: Objects) -> bool:
        bindings = {namespace: each for (_, namespace, name), each in objects.items() if name == APP_SECRETS}
        whole = bindings.pop("")
        return (
            whole["kind"] == "ClusterRole"
            and ("ClusterRoleBinding", "", APP_SECRETS) not in objects
            and bindings.keys() == set(namespaces)
            and all(
                each["kind"] == "RoleBinding"
                and each["roleRef"] == served["roleRef"]
                and each["subjects"] == served["subjects"]
                for each in bindings.values()
            )
        )

    return check
