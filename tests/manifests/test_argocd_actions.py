"""manifests/argocd: each action asks the operator for what its button says, and is offered where it can be done."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from manifests.argocd_files import ACTIONS, CUSTOMIZATION, DISCOVERY, check_recorded
from support.argo_fixtures import NEW, READY, at, deleted, status_of, stored
from support.argo_lua import act, run

BROUGHT = {"user": {"passwordSecretRef": {"name": "own", "key": "password"}}}
INPUTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "initial": (stored(status_of(READY)), {"reconcile", "suspend", "rotate-password"}),
    "suspended": (stored(status_of(READY), {"suspend": True}), {"resume"}),
    "new": (stored(NEW), {"reconcile", "suspend", "rotate-password"}),
    "shared_login": (stored(status_of(READY), {"user": {"mode": "Shared"}}), {"reconcile", "suspend"}),
    "own_password": (stored(status_of(READY), BROUGHT), {"reconcile", "suspend"}),
    "observed": (stored(status_of(READY), {"managementPolicy": "Observe"}), {"reconcile", "suspend"}),
    "deleted": (deleted(stored(status_of(READY))), {"reconcile"}),
    "deleted_and_suspended": (deleted(stored(status_of(READY), {"suspend": True})), {"resume"}),
}
"""A storage and the actions that are offered."""
REQUESTED = {
    "reconcile": "storage.cipher.dev/reconcile-requested-at",
    "rotate-password": "storage.cipher.dev/rotate-requested-at",
}
CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "reconcile": ("initial", "reconciled", {"annotations": {REQUESTED["reconcile"]: at(2)}}),
    "rotate-password": ("initial", "rotated", {"annotations": {REQUESTED["rotate-password"]: at(2)}}),
    "suspend": ("initial", "suspended", {"suspend": True}),
    "resume": ("suspended", "initial", {"suspend": False}),
}
"""An action, the storage before and after it, and what it changes."""


def test_each_action_is_offered_and_defined() -> None:
    offered = run(DISCOVERY, INPUTS["initial"][0])
    assert set(offered) == set(ACTIONS) == set(CHANGES)
    for name, action in offered.items():
        assert set(action) == {"displayName", "iconClass", "disabled"}, name


@pytest.mark.parametrize("case", list(INPUTS))
def test_an_action_is_offered_where_it_can_be_done(case: str) -> None:
    storage, expected = INPUTS[case]
    assert {name for name, action in run(DISCOVERY, storage).items() if not action["disabled"]} == expected


def expected_output(action: str) -> dict[str, Any]:
    before, _, change = CHANGES[action]
    storage = INPUTS[before][0]
    if "suspend" in change:
        return {**storage, "spec": {**storage["spec"], "suspend": change["suspend"]}}
    return {**storage, "metadata": {**storage["metadata"], "annotations": change["annotations"]}}


def _without_time(storage: Mapping[str, Any], action: str) -> dict[str, Any]:
    annotations = storage["metadata"].get("annotations", {})
    kept = {key: value for key, value in annotations.items() if key != REQUESTED.get(action)}
    return {**storage, "metadata": {**storage["metadata"], "annotations": kept}}


@pytest.mark.parametrize("action", list(CHANGES))
def test_an_action_changes_that_and_nothing_else(action: str) -> None:
    done = act(ACTIONS[action], INPUTS[CHANGES[action][0]][0])
    assert _without_time(done, action) == _without_time(expected_output(action), action)


@pytest.mark.parametrize("action", list(REQUESTED))
def test_a_request_is_the_time_in_utc_and_other_annotations_stay(action: str) -> None:
    storage = INPUTS["initial"][0]
    storage = {**storage, "metadata": {**storage["metadata"], "annotations": {"team": "chat", REQUESTED[action]: "1"}}}
    annotations = act(ACTIONS[action], storage)["metadata"]["annotations"]
    assert annotations["team"] == "chat"
    asked = annotations[REQUESTED[action]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", asked)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(asked)).total_seconds()) < 60


def test_argos_own_test_file_holds_the_same() -> None:
    folder = CUSTOMIZATION / "actions"
    discovery = [
        {
            "inputPath": f"testdata/{name}.yaml",
            "result": [{"name": key, **action} for key, action in sorted(run(DISCOVERY, storage).items())],
        }
        for name, (storage, _) in INPUTS.items()
    ]
    actions = [
        {
            "action": action,
            "inputPath": f"testdata/{before}.yaml",
            "expectedOutputPath": f"testdata/{after}.yaml",
        }
        for action, (before, after, _) in CHANGES.items()
    ]
    check_recorded(folder / "action_test.yaml", {"discoveryTests": discovery, "actionTests": actions})
    for name, (storage, _) in INPUTS.items():
        check_recorded(folder / "testdata" / f"{name}.yaml", storage)
    for action, (_, after, _) in CHANGES.items():
        check_recorded(folder / "testdata" / f"{after}.yaml", expected_output(action))
    there = {path.stem for path in (folder / "testdata").iterdir()}
    assert there == {*INPUTS, *(after for _, after, _ in CHANGES.values())}
