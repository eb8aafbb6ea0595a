"""Figures, not verdicts: what a storage costs in time, connections, statements, API writes and memory."""
