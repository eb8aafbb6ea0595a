"""Where the files of the repository are."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "cipher-operator"
CHART_PAGE = Path("docs", "reference", "chart.md")
"""The chart's README as a page of the site, seen from ROOT."""
