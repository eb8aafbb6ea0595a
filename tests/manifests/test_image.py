"""The image's recipe: hash-checked wheels, a numeric user, nothing but the operator in it. No engine is needed here."""

from __future__ import annotations

import re

from manifests.manifest_files import REPOSITORY

RECIPE = (REPOSITORY / "Dockerfile").read_text()
FINAL = RECIPE.rsplit("\nFROM ", 1)[1]


def test_the_user_is_numeric_and_not_root_as_run_as_non_root_asks() -> None:
    """The manifests name no uid, so the kubelet judges the image's; a name it could not."""
    (user,) = re.findall(r"^USER (\S+)$", FINAL, re.MULTILINE)
    uid, gid = map(int, user.split(":"))
    assert uid > 0 and gid > 0


def test_nothing_in_it_belongs_to_that_user_so_that_any_other_may_run_it() -> None:
    """OpenShift runs it under a uid of the namespace's range; only /tmp, an emptyDir, may be written."""
    assert "--chown" not in RECIPE and "chmod" not in RECIPE
    assert re.search(r"^ENV .*\bHOME=/tmp\b", FINAL, re.MULTILINE)
    assert re.search(r"^WORKDIR /tmp$", FINAL, re.MULTILINE)


def test_every_download_is_checked_against_a_lock() -> None:
    for line in re.findall(r"pip\S* .*install .*", RECIPE):
        assert "--no-index" in line or ("--require-hashes" in line and "--only-binary :all:" in line), line


def test_the_final_stage_runs_nothing_and_takes_one_folder() -> None:
    assert not re.search(r"^RUN", FINAL, re.MULTILINE)
    assert re.findall(r"^(?:COPY|ADD) (.*)$", FINAL, re.MULTILINE) == [
        "--from=build /opt/cipher-operator /opt/cipher-operator"
    ]


def test_the_base_is_one_image_by_digest_that_an_argument_changes() -> None:
    (image,) = re.findall(r"^ARG \w*IMAGE=(.*)$", RECIPE, re.MULTILINE)
    assert re.fullmatch(r"[\w./]+:\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image)
    assert set(re.findall(r"^FROM (\S+)", RECIPE, re.MULTILINE)) == {"${PYTHON_IMAGE}"}


def test_labels_say_which_version_and_commit_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', FINAL))
    assert labels["version"] == "${VERSION}" and labels["revision"] == "${REVISION}"
    assert {"title", "description", "licenses", "source"} <= labels.keys()


def test_what_is_left_is_compiled_since_nothing_can_be_where_it_runs() -> None:
    commands = RECIPE[RECIPE.index("release/prune.py \\") :]
    assert "-m compileall" in commands
    assert "PYTHONDONTWRITEBYTECODE=1" in FINAL


def test_what_is_copied_is_not_ignored() -> None:
    build = RECIPE.rsplit("\nFROM ", 1)[0]
    sources = {source for line in re.findall(r"^COPY (.*) \S+$", build, re.MULTILINE) for source in line.split()}
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {f"!{source}" for source in sources} <= set(ignored)


def test_the_numeric_user_has_a_name_since_kopf_asks_for_one_at_its_start() -> None:
    assert re.search(r"^ENV .*\bLOGNAME=\S+", FINAL, re.MULTILINE)


def test_public_cas_are_there_whatever_the_base_image_brings() -> None:
    """Debian's and Alpine's Python have a bundle of the system; the lock's certifi is there where an image has none."""
    assert re.search(r"^certifi==\S+ ", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert "SSL_CERT_FILE" not in FINAL, "the Deployment's to set: it comes before every bundle"
