"""`python -m release.files --image NAME --digest sha256:…`: what is published beside the image, into dist/.

install.yaml is the CRDs and manifests/base, the chart is that of the repository, both with the image by its digest; the
notes are what CHANGELOG.md says of the version, and how the image is verified.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devcluster.programs import find_programs
from release import notes, verify
from release.repository import CHART, ROOT
from release.versions import the_version

DIST = ROOT / "dist"
_IMAGE = r"[a-z0-9][a-z0-9.-]*(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+"
"""A registry with its port, and a path (https://pkg.go.dev/github.com/distribution/reference): no tag, no capitals."""
_REPOSITORY = r"[\w.-]+/[\w.-]+"
RUNBOOKS = "https://storage.cipher.dev/docs/runbooks"
"""Where the alerts of manifests/ say that their pages are."""


def install_yaml(image: str, digest: str) -> str:
    """Return all that `kubectl apply -f` needs, CRDs first."""
    built = [_kustomized(ROOT / "crds"), _kustomized(ROOT / "manifests" / "base")]
    text = "---\n".join(built)
    unnamed = rf"image: cipher-operator:{re.escape(the_version())}$"
    named, count = re.subn(unnamed, f"image: {image}@{digest}", text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"manifests/base: {count} images are cipher-operator:{the_version()}, expected one")
    return named


def _kustomized(folder: Path) -> str:
    kubectl = shutil.which("kubectl") or str(find_programs().kubectl)
    ended = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return ended.stdout


def published_chart(image: str, digest: str, repository: str, folder: Path) -> None:
    """Write the chart into a folder, with the image's name and digest, and where the repository (OWNER/NAME) shows this
    version's runbooks, as the defaults of its values.
    """
    shutil.copytree(CHART, folder)
    values = folder / "values.yaml"
    text = values.read_text()
    changes = {
        "  repository: cipher-operator\n": f"  repository: {image}\n",
        '  digest: ""\n': f"  digest: {digest}\n",
        f"  runbookUrl: {RUNBOOKS}\n": f"  runbookUrl: https://github.com/{repository}/blob/v{the_version()}/docs/runbooks\n",
    }
    for before, after in changes.items():
        if text.count(before) != 1:
            raise ValueError(f"values.yaml: {before.strip()!r} stands there {text.count(before)} times, expected one")
        text = text.replace(before, after)
    values.write_text(text)


def write(image: str, digest: str, repository: str, dist: Path) -> None:
    """Write install.yaml, the chart's folder and notes.md.

    Raises ValueError where a source is not as it must be, and writes nothing where CHANGELOG.md lacks the version.
    """
    shutil.rmtree(dist, ignore_errors=True)
    said = notes.of_changelog(the_version(), ROOT)
    dist.mkdir(parents=True)
    (dist / "install.yaml").write_text(install_yaml(image, digest))
    published_chart(image, digest, repository, dist / "cipher-operator")
    command = verify.command(f"{image}@{digest}", repository)
    (dist / "notes.md").write_text(f"{said}\n## Verify\nWith cosign 3 or newer:\n```sh\n{command}\n```\n")


def main(argv: list[str]) -> int:
    """Return the exit code: 1 where a source is not as it must be."""
    parser = argparse.ArgumentParser(prog="release.files", description=__doc__)
    parser.add_argument("--image", required=True, help="with its registry, without a tag")
    parser.add_argument("--digest", required=True, help="of the image's index of architectures")
    parser.add_argument("--repository", required=True, help="OWNER/NAME, whose workflow signs")
    options = parser.parse_args(argv)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", options.digest):
        parser.error(f"{options.digest!r} is not a digest such as sha256:…")
    if not re.fullmatch(_IMAGE, options.image):
        parser.error(
            f"{options.image!r} is not a name such as ghcr.io/owner/cipher-operator: in small letters, without a tag"
        )
    if not re.fullmatch(_REPOSITORY, options.repository):
        parser.error(f"{options.repository!r} is not OWNER/NAME")
    try:
        write(options.image, options.digest, options.repository, DIST)
    except ValueError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
