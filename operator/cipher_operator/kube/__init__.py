"""The edge that speaks to the Kubernetes API server."""
