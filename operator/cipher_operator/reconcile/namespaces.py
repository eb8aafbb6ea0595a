"""The namespaces as far as CipherServers ask: the labels of all, and which one holds what CipherServers name."""

from collections.abc import Mapping


class Namespaces:
    """Labels by namespace, as the watch told them last. `servers` is the namespace in which all that CipherServers name
    is; None where this operator serves none."""

    def __init__(self, servers: str | None = None) -> None:
        self.servers = servers
        self._labels: dict[str, Mapping[str, str]] = {}

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace, None where nothing is known of it."""
        return self._labels.get(namespace)

    def saw(self, namespace: str, labels: Mapping[str, str] | None) -> bool:
        """Note the labels of a namespace, None where it is gone; return whether that is a change."""
        before = self._labels.get(namespace)
        if labels is None:
            self._labels.pop(namespace, None)
        else:
            self._labels[namespace] = labels
        return before != labels
