"""Fixtures of all tests: real servers, started when a test first asks for them."""

from hypothesis import settings

# Hypothesis counts the clock on the wall, and a machine that runs servers beside may stop an example for long.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

pytest_plugins = [
    "devcluster.fixtures",
    "support.installed",
    "support.randomness",
    "support.run_order",
    "support.status_records",
    "support.worlds",
    "pytester",
]
