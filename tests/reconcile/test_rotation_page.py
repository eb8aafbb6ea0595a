"""docs/running/rotation.md: what its commands do to the two logins, carried out from the page."""

from __future__ import annotations

import itertools
import json
import re
import shlex

import psycopg

from cipher_operator.core.rotation import LEAST_GAP
from support.guides import FOLDER
from support.runs import Runs

PAGE = (FOLDER.parent / "running" / "rotation.md").read_text()
_values = itertools.count(1)


async def carry_out(runs: Runs, section: str) -> list[str]:
    """Carry out the commands of a section that are about the storage; return all their verbs."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    verbs: list[str] = []
    asked = 0
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] != "kubectl":
                continue
            verbs.append(words[1])
            if words[1] == "annotate":
                key, _, _ = words[-1].partition("=")
                runs.api.annotate("chat", key.removeprefix("storage.cipher.dev/"), str(asked := next(_values)))
            elif words[1] == "wait":
                # Ready would hold before the request is carried out, too.
                (name,) = re.findall(r"^--for=jsonpath=\{\.status\.handledRequests\.(\w+)\}=", words[2])
                assert (runs.api.read("cipherstorages", "chat") or {})["status"]["handledRequests"][name] == str(asked)
            elif words[1] == "patch":
                runs.api.change("cipherstorages", "chat", json.loads(words[-1]))
            await runs.run()
            assert runs.says() == ("True", "Ready")
    return verbs


def opens(uri: str) -> bool:
    try:
        psycopg.connect(uri).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_the_former_login_stays_valid_until_the_next_change(runs: Runs) -> None:
    await runs.ready()
    first = runs.secret()["uri"]
    assert await carry_out(runs, "The app's password, regularly") == ["patch", "annotate"]
    second = runs.secret()["uri"]
    assert second != first
    assert opens(first) and opens(second)
    runs.ask("rotate", "again")
    runs.seconds += LEAST_GAP.total_seconds()
    await runs.run()
    assert not opens(first) and opens(second) and opens(runs.secret()["uri"])


async def test_a_password_that_got_out_is_worth_nothing_in_the_end(runs: Runs) -> None:
    await runs.ready()
    first = runs.secret()["uri"]
    verbs = await carry_out(runs, "A password that got out")
    assert verbs == ["annotate", "wait", "rollout", "rollout", "annotate"], "pods are new before the door is closed"
    assert not opens(first) and opens(runs.secret()["uri"])


def test_the_reloader_is_told_the_secret_that_the_pods_take() -> None:
    told = re.findall(r"secret\.reloader\.stakater\.com/reload: (\S+)", PAGE)
    assert told == re.findall(r"secretRef: \{name: (\S+)\}", PAGE) == ["chat-cipher"]
