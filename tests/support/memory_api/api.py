"""The port, in front of the server in memory; and what people do to their cluster meanwhile."""

import base64
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.port import JSON, METADATA_LIST, METADATA_ONLY, Json
from support.memory_api import answers
from support.memory_api.answers import Answer, Refused
from support.memory_api.faults import Fault, Policy
from support.memory_api.kinds import Place, kind_of, path, place
from support.memory_api.selectors import selector
from support.memory_api.server import Server
from support.memory_api.store import Store, address
from support.memory_api.watches import Watch, as_asked

NAMESPACE = "ns"
MERGE_PATCH = "application/merge-patch+json"


class MemoryApi:
    """One API server with one namespace, `ns`, and `kube-system`.

    The methods of the port are counted in `requests`, by (verb, path), and meet `faults` and `policies`; lists count as
    LIST, watches as WATCH. What a person does is neither counted nor hindered by faults.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.faults: list[Fault] = []
        self.policies: list[Policy] = []
        self.missing: set[str] = set()
        """Plurals of kinds that are not installed."""
        self.store = Store()
        self.watches: set[Watch] = set()
        self._server = Server(self.store, self._admit)
        for name in ("kube-system", NAMESPACE):
            self.namespace(name)

    # The port of the operator.

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object or list at a path."""
        where = place(path)
        verb = "GET" if where is not None and where.name else "LIST"
        return await self._request(verb, "GET", path, None, accept=accept, query=query)

    async def post(self, path: str, body: Json) -> Json:
        """Create an object."""
        return await self._request("POST", "POST", path, body)

    async def put(self, path: str, body: Json) -> Json:
        """Replace an object."""
        return await self._request("PUT", "PUT", path, body)

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        """Patch an object."""
        return await self._request("PATCH", "PATCH", path, body, content_type=content_type)

    async def scan(self, path: str, each: Callable[[Json], None], *, accept: str = METADATA_LIST, **query: str) -> Json:
        """Call `each` with the items of a page of a list, and return the page's metadata."""
        page = await self.get(path, accept=accept, **query)
        for item in page["items"]:
            each(item)
        metadata: Json = page["metadata"]
        return metadata

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, *, accept: str = METADATA_ONLY, **query: str
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Give the events of a kind since `resourceVersion`, until the watch is ended."""
        await self._request("WATCH", "GET", path, None, query={"limit": "1"})
        where = place(path)
        assert where is not None
        watch = Watch(self.store, where, accept, query)
        self.watches.add(watch)
        try:
            yield watch.events()
        finally:
            self.watches.discard(watch)

    # Trouble.

    def fault(self, verb: str = "", path: str = "", **what: Any) -> Fault:
        """Let something befall requests from now on (see Fault) and return it; `mend` ends it."""
        fault = Fault(verb, path, **what)
        self.faults.append(fault)
        return fault

    def answer(
        self, status: int, reason: str = "", *, message: str = "", retry_after: str | None = None, **what: Any
    ) -> Fault:
        """Answer requests with a refusal or with trouble, such as 429 with Retry-After; `what` as for `fault`."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return self.fault(answer=Refused(status, reason, message, headers=headers), **what)

    def mend(self, fault: Fault | None = None) -> None:
        """End a fault; all where none is named."""
        self.faults = [] if fault is None else [each for each in self.faults if each is not fault]

    def policy(self, plural: str, name: str, message: str, **what: Any) -> Policy:
        """Refuse objects from now on, as an admission policy does; `what` as for Policy."""
        policy = Policy(plural, name, message, **what)
        self.policies.append(policy)
        return policy

    def count(self, *verbs: str, path: str = "") -> int:
        """Return how many requests with one of these verbs, all where none is named, had `path` in their path."""
        return sum(n for (verb, at), n in self.requests.items() if (not verbs or verb in verbs) and path in at)

    def end_watches(self) -> None:
        """End every open watch, as a server that restarts does."""
        for watch in tuple(self.watches):
            watch.end()

    def say(self, event: Json) -> None:
        """Put an event into every open watch."""
        for watch in tuple(self.watches):
            watch.say(event)

    def say_error(self, code: int, reason: str = "InternalError") -> None:
        """Put an ERROR event into every open watch."""
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "something"}
        self.say({"type": "ERROR", "object": status})

    def bookmark(self) -> None:
        """Put a BOOKMARK of the present version into every open watch."""
        for watch in tuple(self.watches):
            watch.bookmark()

    # What people and controllers do.

    def namespace(self, name: str) -> Json:
        """Create a namespace, or return it."""
        if (found := self.read("namespaces", name)) is not None:
            return found
        return self._act(lambda server: server.create(self._at("namespaces"), {"metadata": {"name": name}}))

    def storage(
        self, name: str = "chat", spec: Mapping[str, Any] | None = None, *, namespace: str = NAMESPACE, **metadata: Any
    ) -> Json:
        """Create a CipherStorage; the connection Secret is `pg-admin` unless the spec says otherwise."""
        self.namespace(namespace)
        body = {
            "metadata": {"name": name, **metadata},
            "spec": {"connection": {"secretRef": {"name": "pg-admin"}}, **(spec or {})},
        }
        return self._act(lambda server: server.create(self._at("cipherstorages", "", namespace), body))

    def server(self, name: str = "prod", spec: Mapping[str, Any] | None = None, **metadata: Any) -> Json:
        """Create a CipherServer; its Secret is `prod-admin`, and it is open to all, unless the spec says otherwise."""
        body = {
            "metadata": {"name": name, **metadata},
            "spec": {
                "connection": {"secretRef": {"name": f"{name}-admin"}},
                "allowedNamespaces": {"from": "All"},
                **(spec or {}),
            },
        }
        return self._act(lambda server: server.create(self._at("cipherservers"), body))

    def secret(
        self,
        name: str,
        data: Mapping[str, str | bytes],
        *,
        namespace: str = NAMESPACE,
        type_: str = "Opaque",
        **fields: Any,
    ) -> Json:
        """Create a Secret, or give one another content; `fields` are those of metadata, or `immutable`."""
        top = {"immutable": fields.pop("immutable")} if "immutable" in fields else {}
        body = {"metadata": {"name": name, **fields}, "type": type_, "data": _encoded(data), **top}
        return self._apply("secrets", namespace, name, body)

    def configmap(self, name: str, data: Mapping[str, str], *, namespace: str = NAMESPACE, **metadata: Any) -> Json:
        """Create a ConfigMap, or give one another content."""
        return self._apply("configmaps", namespace, name, {"metadata": {"name": name, **metadata}, "data": dict(data)})

    def change(self, plural: str, name: str, merge: Json, *, namespace: str = NAMESPACE) -> Json:
        """Merge something into an object, as `kubectl patch --type=merge` does."""
        return self._act(lambda server: server.patch(self._at(plural, name, namespace), merge, MERGE_PATCH))

    def annotate(self, name: str, annotation: str, value: str | None, *, namespace: str = NAMESPACE) -> Json:
        """Set one of our annotations on a CipherStorage."""
        merge = {"metadata": {"annotations": {f"storage.cipher.dev/{annotation}": value}}}
        return self.change("cipherstorages", name, merge, namespace=namespace)

    def delete(self, plural: str, name: str, *, namespace: str = NAMESPACE) -> None:
        """Delete an object as a person does; one with finalizers stays until they are gone."""
        self._act(lambda server: server.delete(self._at(plural, name, namespace)))

    def read(self, plural: str, name: str, *, namespace: str = NAMESPACE) -> Json | None:
        """Return an object, None where there is none."""
        where = self._at(plural, name, namespace)
        return self.store.get(address(where.kind, where.namespace, where.name))

    def status(self, name: str = "chat", *, namespace: str = NAMESPACE) -> Json:
        """Return a CipherStorage's status, empty where there is none."""
        return (self.read("cipherstorages", name, namespace=namespace) or {}).get("status") or {}

    def condition(self, name: str = "chat", type_: str = "Ready", *, namespace: str = NAMESPACE) -> Json:
        """Return a condition of a CipherStorage, empty where it is absent."""
        conditions = self.status(name, namespace=namespace).get("conditions") or []
        return next((each for each in conditions if each["type"] == type_), {})

    def data(self, name: str, *, namespace: str = NAMESPACE) -> dict[str, str] | None:
        """Return a Secret's content as text, None where there is no such Secret."""
        found = self.read("secrets", name, namespace=namespace)
        if found is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    def events(self, name: str = "chat", *, namespace: str = NAMESPACE) -> list[tuple[str, str]]:
        """Return (reason, note) of the Events about a CipherStorage, in the order they came."""
        found = [each for each in self.store.of(kind_of("events"), namespace) if each["regarding"]["name"] == name]
        found.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [(each["reason"], each["note"]) for each in found]

    def collect_garbage(self) -> None:
        """Delete what only owners that are gone own, and everything in namespaces that are about to go."""
        while True:
            uids = {body["metadata"]["uid"] for body in self.store.objects.values()}
            doomed = [where for where, body in self.store.objects.items() if self._doomed(body, uids)]
            if not doomed:
                break
            for api, namespace, name in doomed:
                self.delete(api.rpartition("/")[2], name, namespace=namespace)

    def _doomed(self, body: Json, uids: set[str]) -> bool:
        metadata = body["metadata"]
        if "deletionTimestamp" in metadata:
            return False  # its finalizers hold it
        owners = metadata.get("ownerReferences") or ()
        if owners and not any(owner["uid"] in uids for owner in owners):
            return True
        around = self.read("namespaces", metadata.get("namespace", ""))
        return around is not None and "deletionTimestamp" in around["metadata"]

    def path(self, plural: str, name: str = "", namespace: str = NAMESPACE) -> str:
        """Return the path of an object, or of a kind in a namespace."""
        where = self._at(plural, name, namespace)
        return path(where.kind, where.namespace, where.name)

    def _at(self, plural: str, name: str = "", namespace: str = NAMESPACE) -> Place:
        kind = kind_of(plural)
        return Place(kind, namespace if kind.namespaced else "", name, "")

    # Inside.

    def send(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to one request; faults do not count."""
        try:
            where = place(path)
            if where is None or where.kind.plural in self.missing:
                return answers.NO_PAGE
            if method == "GET":
                if where.name:
                    return Answer(200, as_asked(self._server.get(where), accept))
                return Answer(200, self._list(where, accept, query or {}))
            if method == "DELETE":
                return self._server.delete(where)
            assert body is not None
            if method == "PATCH":
                return self._server.patch(where, body, content_type)
            assert isinstance(body, dict)
            return self._server.create(where, body) if method == "POST" else self._server.update(where, body)
        except Refused as refused:
            return refused.answer

    async def _request(self, verb: str, method: str, path: str, body: Json | list[Json] | None, **options: Any) -> Json:
        self.requests[verb, path] += 1
        try:
            for fault in [each for each in self.faults if each.meets(verb, path)]:
                await fault.befall()
            answer = self.send(method, path, body, **options)
        except Refused as refused:
            answer = refused.answer
        return decode_answer(answer.status, answer.headers, json.dumps(answer.body).encode(), body, path=path)

    def _admit(self, verb: str, where: Place, body: Json) -> None:
        for policy in self.policies:
            policy.check(verb, where, body)

    def _act(self, act: Callable[[Server], Answer]) -> Json:
        return act(Server(self.store, lambda verb, where, body: None)).body

    def _apply(self, plural: str, namespace: str, name: str, body: Json) -> Json:
        self.namespace(namespace)
        if self.read(plural, name, namespace=namespace) is None:
            return self._act(lambda server: server.create(self._at(plural, "", namespace), body))
        emptied = {"data": None} | body
        self.change(plural, name, {"data": None}, namespace=namespace)
        return self.change(plural, name, emptied, namespace=namespace)

    def _list(self, where: Place, accept: str, query: Mapping[str, str]) -> Json:
        selects = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        found = [body for body in self.store.of(where.kind, where.namespace) if selects(body)]
        version, after = str(self.store.version), ["", ""]
        if "continue" in query:
            version, after = json.loads(base64.b64decode(query["continue"]))
            if int(version) < self.store.oldest:
                raise answers.expired()
        found = [each for each in found if _key(each) > after]
        limit = int(query.get("limit", "0")) or len(found)
        page, rest = found[:limit], found[limit:]
        metadata: Json = {"resourceVersion": version}
        if rest:
            token = json.dumps([version, _key(page[-1])]).encode()
            metadata |= {"continue": base64.b64encode(token).decode(), "remainingItemCount": len(rest)}
        items = [as_asked(each, accept) for each in page]
        if "PartialObjectMetadataList" in accept:
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            }
        kind = where.kind
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}


def _key(body: Json) -> list[str]:
    return [body["metadata"].get("namespace", ""), body["metadata"]["name"]]


def _encoded(data: Mapping[str, str | bytes]) -> dict[str, str]:
    raw = {key: value.encode() if isinstance(value, str) else value for key, value in data.items()}
    return {key: base64.b64encode(value).decode() for key, value in raw.items()}
