"""`python -m benchmarks COMMAND`: figures on real parts, each command a table; `COMMAND --help` says what it takes."""

import sys
from importlib import import_module

COMMANDS = {
    "storage": "one storage, a steady state, and twenty at once",
    "many": "one, twenty and fifty storages beside the same SQL without Kubernetes",
    "starvation": "200 storages on a server that says nothing, and one on a healthy server",
    "memory": "large ConfigMaps and Secrets of others in the cluster",
    "throttled": "an API server that answers 429 to everything, with 1,000 storages known",
    "scale": "10,000 storages: a cold start, and a new storage among 2,000 due checks",
    "tenants": "200 storages of 20 namespaces on one CipherServer, most of them of one namespace",
    "latency": "a slow network: the operator's messages beside one statement at a time",
    "takeover": "two replicas: what befalls the leader in the midst of its work, and when the other goes on",
    "rollout": "200 storages applied while both replicas are replaced",
    "scrape": "how long a scrape of the metrics holds the event loop, with 10 to 10,000 storages",
    "races": "several runs of one storage at once",
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__)
        for name, text in COMMANDS.items():
            print(f"  {name:<12}{text}")
        sys.exit(0 if sys.argv[1:] in ([], ["--help"], ["-h"]) else 2)
    name = sys.argv.pop(1)
    import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
