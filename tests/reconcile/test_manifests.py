"""What `plan` and `check` take from files, where a CipherServer's references are looked up, and what they refuse."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.names import API_VERSION
from cipher_operator.reconcile.documents import ManifestError
from cipher_operator.reconcile.manifests import load

OURS = frozenset({"CipherStorage", "CipherServer"})


def made(kind: str, name: str, namespace: str | None = None, **content: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace is not None else {})
    version = API_VERSION if kind in OURS else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def server(name: str = "prod", secret: str | None = "admin", ca: str | None = None) -> dict[str, Any]:
    connection: dict[str, Any] = {"secretRef": {"name": secret}} if secret is not None else {"host": "db"}
    if ca is not None:
        connection["caRef"] = {"kind": "ConfigMap", "name": ca}
    return made("CipherServer", name, spec={"connection": connection, "allowedNamespaces": {"from": "All"}})


CHAT = made("CipherStorage", "chat", "shop", spec={"connection": {"secretRef": {"name": "admin"}}})
TENANT = made("CipherStorage", "chat", "shop", spec={"connection": {"serverRef": {"name": "prod"}}})


def secret(namespace: str | None, name: str = "admin") -> dict[str, Any]:
    return made("Secret", name, namespace, stringData={"CIPHER_PG_URL": "postgresql://db"})


def configmap(namespace: str | None, name: str = "ca") -> dict[str, Any]:
    return made("ConfigMap", name, namespace, data={"ca.crt": "pem"})


def write(folder: Path, *documents: Mapping[str, Any]) -> list[str]:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return [str(path)]


HOMES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "where the admin Secret says": ([server(), secret("platform")], "platform"),
    "not where another CipherServer's Secret is": (
        [server(), server("test", "test-admin"), secret("platform"), secret("lab", "test-admin")],
        "platform",
    ),
    "nor where it is when that one comes first": (
        [secret("lab", "test-admin"), server("test", "test-admin"), server(), secret("platform")],
        "platform",
    ),
    "not where the tenant has a Secret of the same name": ([secret("shop"), server(), secret("platform")], "platform"),
    "nor where he alone has one": ([server(), secret("shop")], "cipher-system"),
    "nor where one is that says no namespace": ([server(), secret(None)], "cipher-system"),
    "where the CA is, with no Secret at all": ([server(secret=None, ca="ca"), configmap("platform")], "platform"),
    "not where the tenant has a CA of that name": (
        [configmap("shop"), server(secret=None, ca="ca"), configmap("platform")],
        "platform",
    ),
    "not by a Secret that has the CA's name": (
        [server(secret=None, ca="ca"), secret("other", "ca"), configmap("platform")],
        "platform",
    ),
    "the manifests' own, where the files say nothing": ([server()], "cipher-system"),
    "the manifests' own, with no CipherServer": ([secret("platform")], "cipher-system"),
}


@pytest.mark.parametrize("case", HOMES)
def test_where_a_servers_references_are_looked_up(tmp_path: Path, case: str) -> None:
    documents, home = HOMES[case]
    assert load(write(tmp_path, TENANT, *documents)).servers == home


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        pytest.param(
            [server(), secret("a"), secret("b")], "Secret 'admin' in 'a' and Secret 'admin' in 'b'", id="two Secrets"
        ),
        pytest.param(
            [server(ca="ca"), secret("a"), configmap("b")], "Secret 'admin' in 'a' and ConfigMap 'ca' in 'b'", id="CA"
        ),
    ],
)
def test_two_places_are_refused_with_both_names_and_the_flag_decides(
    tmp_path: Path, documents: list[dict[str, Any]], said: str
) -> None:
    files = write(tmp_path, TENANT, *documents)
    with pytest.raises(ManifestError) as raised:
        load(files)
    assert said in str(raised.value)
    assert "--server-secrets-namespace" in str(raised.value)
    assert load(files, servers="b").servers == "b"
    assert load(files, servers="shop").servers == "shop"


def bodies(*documents: Mapping[str, Any]) -> str:
    return yaml.safe_dump_all(documents)


REFUSED: dict[str, tuple[str, str]] = {
    "no YAML": ("a: [S3CR3T", "{file} is not YAML: line 1"),
    "a template": ("kind: {{ .Values.kind }}\n", "{file} is not YAML: line 1"),
    "a date that is none": ("a: 2001-99-99", "{file} is not YAML"),
    "nested beyond all reason": ("[" * 3_000, "{file} is not YAML"),
    "text": ("S3CR3T", "{file} holds something that is no Kubernetes object: it has no `kind`"),
    "no kind": ("metadata: {name: S3CR3T}", "{file} holds something that is no Kubernetes object: it has no `kind`"),
    "nothing": ("# nothing\n---\n", "the files hold no object at all; name the file of a CipherStorage with -f, too"),
    "no storage": (
        bodies(secret("shop"), made("Deployment", "web")),
        "there is no CipherStorage in the files, but Deployment, Secret; name the file of a CipherStorage with -f, too",
    ),
    "a kind in other letters": (
        bodies(made("Cipherstorage", "chat")),
        "there is no CipherStorage in the files, but Cipherstorage; name the file of a CipherStorage with -f, too",
    ),
    "two storages": (
        bodies(CHAT, made("CipherStorage", "other", spec={})),
        "the files hold 2 objects of kind CipherStorage: shop/chat, other; give one at a time",
    ),
    "one Secret twice": (
        bodies(CHAT, secret("shop"), secret(None)),
        "Secret admin is in the files twice: {file}, {file}; leave one out",
    ),
    "one storage twice": (
        bodies(CHAT, CHAT),
        "the files hold 2 objects of kind CipherStorage: shop/chat, shop/chat; give one at a time",
    ),
    "another version": (
        bodies(CHAT | {"apiVersion": "storage.cipher.dev/v1"}),
        "{file}: CipherStorage shop/chat must have `apiVersion: storage.cipher.dev/v1alpha1`",
    ),
    "no version": (
        bodies(CHAT, {"kind": "Secret", "metadata": {"name": "admin"}}),
        "{file}: Secret admin must have `apiVersion: v1`",
    ),
    "no name": (
        bodies({"apiVersion": API_VERSION, "kind": "CipherStorage", "metadata": {"generateName": "chat-"}}),
        "{file}: CipherStorage has no `metadata.name`",
    ),
    "a name that is a number": (
        bodies(made("CipherStorage", 12)),  # type: ignore[arg-type]
        "{file}: CipherStorage: `metadata.name` must be a text; put it in quotes",
    ),
    "a name that no cluster takes": (
        bodies(made("CipherStorage", "Chat_X")),
        "{file}: CipherStorage: `metadata.name` 'Chat_X' is none that Kubernetes takes: write small letters, digits "
        "and '-'",
    ),
    "a namespace that no cluster takes": (
        bodies(CHAT, secret("x.y")),
        "{file}: Secret: `metadata.namespace` 'x.y' is none that Kubernetes takes: write small letters, digits and '-'",
    ),
    "a password that is a number": (
        bodies(CHAT, made("Secret", "admin", stringData={"STORAGE_DATABASE_PASSWORD": 735_111})),
        "{file}: Secret admin: `stringData`, key 'STORAGE_DATABASE_PASSWORD': must be a text; put it in quotes",
    ),
    "a label that YAML takes for true": (
        bodies(CHAT, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"in": True}}}),
        "{file}: Namespace shop: `metadata.labels`, key 'in': must be a text; put it in quotes",
    ),
    "no base64": (
        bodies(CHAT, made("Secret", "admin", data={"CIPHER_PG_URL": "S3CR3T://"})),
        "{file}: Secret admin: `data`, key 'CIPHER_PG_URL': must be base64; or use `stringData`",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_be_used_are_said_without_their_content(tmp_path: Path, case: str) -> None:
    content, said = REFUSED[case]
    path = tmp_path / "given.yaml"
    path.write_text(content)
    with pytest.raises(ManifestError) as raised:
        load([str(path)])
    assert str(raised.value) == said.replace("{file}", str(path))
    assert "S3CR3T" not in str(raised.value)
    assert "735" not in str(raised.value)


def test_a_directory_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is a directory; name its files, each with -f"):
        load([str(tmp_path)])
    with pytest.raises(ManifestError, match=r"none\.yaml cannot be read: No such file"):
        load([str(tmp_path / "none.yaml")])
    with pytest.raises(ManifestError, match=r"^-f: the name of a file is empty$"):
        load([""])


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_bytes(b"kind: \xff\xfe")
    with pytest.raises(ManifestError, match=r"given\.yaml is not YAML$"):
        load([str(tmp_path / "given.yaml")])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": [CHAT, secret("shop")]}), id="kubectl get -o json"
        ),
        pytest.param(bodies({"kind": "CipherStorageList", "items": [CHAT]}, secret("shop")), id="a typed list"),
        pytest.param(bodies(CHAT, secret(None)), id="a Secret beside it without a namespace"),
        pytest.param(bodies(CHAT, secret("shop"), {"apiVersion": "x.dev/v1", "kind": "Secret"}), id="another's Secret"),
        pytest.param(bodies(CHAT, secret("shop"), made("Deployment", "web"), {"kind": "X"}), id="kinds of others"),
        pytest.param(
            bodies(CHAT, made("Secret", "admin", data={"CIPHER_PG_URL": "cG9zdGdy\nZXNxbDovL2Ri\n"})),
            id="base64 in lines, as the API server takes it",
        ),
    ],
)
async def test_what_people_have_in_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(content)
    held = load([str(path)])
    assert held.storage.key == ("shop", "chat")
    assert (await held.get("/api/v1/namespaces/shop/secrets/admin"))["data"] == {
        "CIPHER_PG_URL": "cG9zdGdyZXNxbDovL2Ri"
    }


async def test_a_namespace_that_is_given_is_that_of_what_states_none(tmp_path: Path) -> None:
    files = write(tmp_path, made("CipherStorage", "chat", spec=CHAT["spec"]), secret(None), secret("b", "other"))
    held = load(files, namespace="a")
    assert held.storage.key == ("a", "chat")
    assert await held.get("/api/v1/namespaces/a/secrets/admin")
    assert await held.get("/api/v1/namespaces/b/secrets/other")
    assert load(files).storage.key == ("default", "chat")
    with pytest.raises(ManifestError, match="CipherStorage shop/chat is not in namespace 'a', which -n names"):
        load(write(tmp_path, CHAT), namespace="a")


async def test_a_null_is_an_empty_text_as_on_the_api_server(tmp_path: Path) -> None:
    held = load(write(tmp_path, CHAT, made("Secret", "admin", "shop", data=None, stringData={"password": None})))
    assert (await held.get("/api/v1/namespaces/shop/secrets/admin"))["data"] == {"password": ""}


STORAGE = f"apiVersion: {API_VERSION}\nkind: CipherStorage\nmetadata: {{name: chat}}\nspec: {{"
TENFOLD = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
MERGED = "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9))
LISTS = "".join(f"a{n}: &a{n} {{kind: List, items: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9))
TOO_MANY = "a document of more than 1,000,000 values, by aliases"
OBEYED = "a line break or a control character in it"
HOSTILE = {
    "aliases that stand for thousands of millions": (f"kind: Pod\na0: &a0 [x]\n{TENFOLD}", TOO_MANY),
    "merges that do": (f"kind: Pod\na0: &a0 {{x: y}}\n{MERGED}", TOO_MANY),
    "lists of lists that do": (f"a0: &a0 {{kind: Pod}}\n{LISTS}kind: List\nitems: [*a8]\n", TOO_MANY),
    "a list that holds itself": ("kind: List\nitems: &a\n- kind: List\n  items: *a\n", TOO_MANY),
    "a spec that holds itself": (f"{STORAGE}connection: &a {{secretRef: *a}}}}", TOO_MANY),
    "a name that a terminal obeys": ('kind: Secret\napiVersion: v1\nmetadata: {name: "a\\e[2J"}\n', OBEYED),
    "a namespace that one obeys": (
        'kind: Secret\napiVersion: v1\nmetadata: {name: a, namespace: "a\\rOK"}\n',
        f"`metadata.namespace` has {OBEYED}",
    ),
    "a kind that one obeys": ('kind: "Pod\\e]0;x\\a"\n', f"whose `kind` has {OBEYED}"),
    "a key that one obeys": (
        'kind: Secret\napiVersion: v1\nmetadata: {name: a}\ndata: {"k\\e[2J": "?"}\n',
        "`data`, key 'k [2J': must be base64",
    ),
    "a key of no text that one obeys": (
        'kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {"k\\e[2J": 1}\n',
        "`data`, key 'k [2J': must be a text",
    ),
    "owners that are none": (
        "kind: Secret\napiVersion: v1\nmetadata: {name: a, ownerReferences: 5}\n",
        "Secret a: `metadata.ownerReferences` has not the shape it must have",
    ),
    "an owner that is none": ("kind: Secret\napiVersion: v1\nmetadata: {name: a, ownerReferences: [5]}\n", "the shape"),
    "labels that are none": (f"{STORAGE}}}\n".replace("name: chat", "name: chat, labels: [a]"), "the shape"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_a_line_that_a_terminal_may_have(tmp_path: Path, case: str) -> None:
    text, says = HOSTILE[case]
    path, storage = tmp_path / "hostile.yaml", tmp_path / "storage.yaml"
    path.write_text(text)
    storage.write_text(yaml.safe_dump(CHAT))
    with pytest.raises(ManifestError) as refused:
        load([str(path)] if "CipherStorage" in text else [str(path), str(storage)])
    assert says in str(refused.value)
    assert str(refused.value).isprintable()
