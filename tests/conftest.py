"""Fixtures of all tests: real servers, started when a test first asks for them."""

pytest_plugins = ["devcluster.fixtures"]
