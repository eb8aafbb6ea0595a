"""Who carries out which block of the documents: a test of test_blocks.py or another, or what it would need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.names import API_VERSION
from manifests.manifest_files import documents
from support.pages import Block, blocks

BLOCKS = list(blocks())
OURS = {"v1", "apps/v1", API_VERSION}
"""Kinds that are there where nothing but the operator is installed."""
RUNBOOKS = "tests/e2e/test_runbook_pages.py"


@dataclass(frozen=True)
class Elsewhere:
    """Blocks that do not run here: by their page, a part of their text, and who runs them or what they need."""

    page: str
    part: str
    who: str


NOT_HERE = (
    Elsewhere("docs/gitops.md", "kubectl patch configmap argocd", "tests/manifests/test_argocd_install.py"),
    Elsewhere("docs/running/backup.md", "pg_dumpall", RUNBOOKS),
    Elsewhere("docs/running/backup.md", 'psql "$NEW_ADMIN_URL" --file', RUNBOOKS),
    Elsewhere("docs/running/moving.md", "pg_dump", RUNBOOKS),
    Elsewhere("README.md", "flowchart LR", "tests/delivery/test_site.py"),
    Elsewhere("docs/start.md", "usable; PostgreSQL", "tests/manifests/test_start_page.py"),
    Elsewhere("docs/start.md", "CREATE ROLE", "tests/manifests/test_start_page.py"),
    Elsewhere("docs/providers/own-server.md", "hostssl", "a pg_hba.conf of the reader's server"),
    Elsewhere("docs/running/disaster.md", '"instance":"5f0c…"', RUNBOOKS),
    Elsewhere("docs/identity.md", "rds-db:connect", "an account at AWS"),
    Elsewhere("docs/identity.md", "pods.eks.amazonaws.com", "an account at AWS"),
    Elsewhere("docs/identity.md", "AssumeRoleWithWebIdentity", "an account at AWS"),
    Elsewhere("docs/providers/cloudnativepg.md", "postgresql.cnpg.io/v1", "a cluster with CloudNativePG"),
)


ANOTHER_WAY = (("README.md", "make cluster "), ("docs/providers/supabase.md", "@db.abcdefghijklmnopqrst.supabase.co"))


def elsewhere(block: Block) -> list[Elsewhere]:
    return [each for each in NOT_HERE if each.page == block.page and each.part in block.text]


def parts(block: Block) -> list[dict[str, Any]]:
    """Return the documents of a YAML block that are no whole objects."""
    found = documents(block.text) if block.language == "yaml" else []
    return [each for each in found if not {"apiVersion", "kind"} <= {*each}]


def is_whole(block: Block) -> bool:
    found = documents(block.text) if block.language == "yaml" else []
    return bool(found) and all({"apiVersion", "kind", "metadata"} <= {*each} for each in found)


def is_kustomization(block: Block) -> bool:
    return any({*each} & {"resources", "patches", "replacements"} for each in parts(block))


def begins_anew(block: Block) -> bool:
    """Return whether a page shows another way from here on, for a reader who has not gone the one above."""
    return any(block.page == page and part in block.text for page, part in ANOTHER_WAY)


HERE: dict[str, Callable[[Block], bool]] = {
    "test_a_page_runs_as_it_stands": lambda block: block.script is not None,
    "test_sql_runs_as_it_stands": lambda block: block.language == "sql",
    "test_documents.test_whole_examples_apply": lambda block: (
        is_whole(block) and {each["apiVersion"] for each in documents(block.text)} <= OURS
    ),
    "test_a_part_of_an_object_is_taken": lambda block: bool(parts(block)) and not is_kustomization(block),
    "test_a_kustomization_builds": is_kustomization,
}


def who_runs(block: Block) -> list[str]:
    """Return all that carry a block out, or say what it would need."""
    named = [each.who for each in elsewhere(block)]
    return named or [name for name, takes in HERE.items() if takes(block)]
