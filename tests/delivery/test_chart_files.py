"""The chart's files: made from the others, documented, strict, and in agreement with one another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.runtime.flags import FLAGS
from release import chart, values_page
from release.repository import CHART, CHART_PAGE, ROOT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_what_is_made_from_other_files_is_as_it_would_be_made_now() -> None:
    assert not chart.stale(), "run `make chart`"


def test_every_crd_is_in_the_chart_and_no_other() -> None:
    assert {path.name for path in (CHART / "templates" / "crds").iterdir()} == {
        path.name for path in (ROOT / "crds").glob("*.yaml")
    }


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "a CRD that changed": ("crds/x.yaml", lambda text: text.replace("Namespaced", "Cluster")),
        "a CRD that came": ("crds/y.yaml", None),
    }.values(),
    ids=["a CRD that changed", "a CRD that came"],
)
def test_a_crd_that_is_not_as_in_the_chart_is_noticed(
    name: str, change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, copy = tmp_path / "repository", tmp_path / "chart"
    for part in ("crds", "manifests", "charts", "docs/reference"):
        _copy(ROOT / part, repository / part)
    monkeypatch.setattr(chart, "ROOT", repository)
    monkeypatch.setattr(chart, "_COMPONENTS", repository / "manifests" / "components")
    copy = repository / "charts" / "cipher-operator"
    monkeypatch.setattr(chart, "CHART", copy)
    assert not chart.stale()
    source = next((repository / "crds").glob("*.yaml"))
    if change is None:
        (repository / name).write_text(source.read_text())
    else:
        source.write_text(change(source.read_text()))
    assert [path.parent.name for path in chart.stale()] == ["crds"]
    chart.write()
    assert not chart.stale()
    (repository / name).unlink(missing_ok=True)
    if change is None:
        assert [path.name for path in chart.stale()] == ["y.yaml"], "and one that is gone"
        chart.write()
        assert not (copy / "templates" / "crds" / "y.yaml").exists()


def test_the_readme_is_a_page_of_the_site_whose_links_lead_to_the_same() -> None:
    readme, page = (CHART / "README.md").read_text(), ROOT / CHART_PAGE
    links = re.compile(r"\]\((?![a-z]+:|#)([^)#]+)")
    led = [(CHART / each).resolve() for each in links.findall(readme)]
    assert led and [(page.parent / each).resolve() for each in links.findall(page.read_text())] == led
    assert links.sub("](", page.read_text()) == links.sub("](", readme)


def test_a_readme_that_changed_makes_the_page_of_the_site_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        chart, "page", lambda of: "[all](values.yaml#L3) and [more](../x.md), [here](#a), https://a.b/c\n"
    )
    assert {path.name for path in chart.stale()} == {"README.md", "chart.md"}
    said = chart.made()[ROOT / CHART_PAGE]
    assert said == (
        "[all](../../charts/cipher-operator/values.yaml#L3) and [more](../../charts/x.md), [here](#a), https://a.b/c\n"
    )


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "labels that begin otherwise": (
            "kind: Role\nmetadata:\n  labels:\n    other: x\n",
            "not each begins its labels",
        ),
        "braces": ('kind: Role\nmetadata:\n  labels:\n    x: "{{ y }}"\n', "would be read as Helm's"),
    }.values(),
    ids=["labels that begin otherwise", "braces"],
)
def test_a_source_of_another_shape_is_refused_rather_than_mangled(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(chart.ChartError, match=message):
        chart._with_labels(tmp_path / "x.yaml")


def _leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        if "properties" in child:
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _paths(values: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        known = schema["properties"].get(name, {})
        if "properties" in known and value:
            yield from _paths(value, known, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_schema_and_values_have_the_same_names() -> None:
    in_schema = {name for name, _ in _leaves(SCHEMA)}
    optional = {name for name in in_schema if name.startswith("settings.")} | {"global", "enabled", "resources.claims"}
    assert set(_paths(VALUES, SCHEMA)) - {"settings"} == in_schema - optional


def test_every_level_of_the_schema_is_closed() -> None:
    def closed(schema: dict[str, Any]) -> bool:
        if "properties" not in schema:
            return True
        return schema.get("additionalProperties") is False and all(map(closed, schema["properties"].values()))

    assert closed(SCHEMA)


def test_every_flag_is_a_setting_but_those_that_the_chart_gives() -> None:
    settings = set(SCHEMA["properties"]["settings"]["properties"])
    assert settings == {flag.name for flag in FLAGS} - chart._NOT_SETTINGS
    assert {flag.name for flag in FLAGS} >= chart._NOT_SETTINGS


def test_the_readme_has_every_value() -> None:
    text = (CHART / "README.md").read_text()
    listed = [value.path for value in values_page.documented(CHART / "values.yaml")]
    assert len(listed) > 40
    assert all(f"| `{path}` |" in text for path in listed)


def test_a_value_without_a_comment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("## Section\n\na:\n  # About it.\n  b: 1\n  c: 2\n")
    with pytest.raises(values_page.UndocumentedError, match=r"line 6: no comment is about a\.c"):
        values_page.documented(tmp_path / "values.yaml")


def test_defaults_and_texts_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("## One\n\n# Of two\n# lines.\na: {x: 1}\n## Two\nb:\n  # A | B.\n  c: ''\n")
    assert values_page.documented(tmp_path / "values.yaml") == [
        values_page.Value("a", "One", {"x": 1}, "Of two lines."),
        values_page.Value("b.c", "Two", "", "A | B."),
    ]
    assert '| `b.c` | `""` | A \\| B. |' in values_page._tables(tmp_path / "values.yaml")
