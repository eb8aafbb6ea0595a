"""What the API server reckons that the rules cost: far below what it refuses."""

import json

import pytest

from devcluster import ControlPlane, KubectlError
from devcluster.programs import wanted_version
from support import crd


def _apply_with_rules_repeated(plane: ControlPlane, kind: str, times: int) -> None:
    """Ask the API server to take the CRD with every rule so many times as long. Raises KubectlError."""
    document = json.loads(json.dumps(crd.document(kind)))
    (version,) = document["spec"]["versions"]
    for _, node in crd.nodes(version["schema"]["openAPIV3Schema"]):
        for rule in node.get(crd.RULES, []):
            rule["rule"] = " && ".join([f"({rule['rule']})"] * times)
    plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", input=json.dumps(document)
    )


# The API server names no cost that it accepts. The dearest is that on the default of
# `app.secretName`, with 38 % of what a rule may cost; none of CipherServer has 1 %.
@pytest.mark.parametrize(("kind", "times"), [(crd.STORAGES, 2), (crd.SERVERS, 20)])
def test_every_rule_could_cost_more(installed: ControlPlane, kind: str, times: int) -> None:
    _apply_with_rules_repeated(installed, kind, times)


@pytest.mark.xfail(
    wanted_version().startswith("1.37."),
    strict=True,
    reason="Kubernetes 1.37 took each rule 60 times as long, so that nothing is known of its budget",
)
def test_the_api_server_refuses_what_costs_too_much(installed: ControlPlane) -> None:
    # Else the test above could not fail.
    with pytest.raises(KubectlError, match="estimated rule cost exceeds budget by factor"):
        _apply_with_rules_repeated(installed, crd.STORAGES, 3)
