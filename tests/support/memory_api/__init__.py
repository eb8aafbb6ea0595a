"""An API server in memory, behind the port that the operator uses: what runs are tested against in milliseconds.

It behaves as the real one where the operator can tell; tests/kube/test_memory_api.py asks both the same.
"""

from support.memory_api.answers import Refused
from support.memory_api.api import MemoryApi
from support.memory_api.faults import Fault, Policy

__all__ = ["Fault", "MemoryApi", "Policy", "Refused"]
