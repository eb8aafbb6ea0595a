"""A real Kubernetes control plane and real PostgreSQL servers on one machine, without a container engine.

See README.md in this folder. Importing this package starts nothing.
"""

from devcluster.controlplane import ControlPlane, KubectlError
from devcluster.faults import FaultProxy
from devcluster.postgres import PostgresServer
from devcluster.tls import TlsFixture

__all__ = ["ControlPlane", "FaultProxy", "KubectlError", "PostgresServer", "TlsFixture"]
