"""What the chart says after an install."""

from __future__ import annotations

import pytest

from devcluster.helm import Helm
from release.repository import CHART

REGISTRY = "registry.example.com/cipher-operator"
WARNING = "names no registry of yours"


@pytest.mark.parametrize(("image", "warned"), [("cipher-operator", True), (REGISTRY, False)])
def test_an_image_that_no_node_can_pull_is_said_with_the_command_that_names_another(
    helm4: Helm, image: str, warned: bool
) -> None:
    said = helm4(
        "install", "ours", str(CHART), "--namespace=team", "--dry-run=client", f"--set=image.repository={image}"
    )
    notes = said.split("\nNOTES:\n")[1]
    assert (WARNING in notes) is warned
    assert ("helm upgrade ours CHART -n team --reset-then-reuse-values" in notes) is warned
