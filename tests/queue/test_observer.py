"""Who watches a queue is told of each key that waits, once, and of its end."""

from cipher_operator.queue.ready import Ready

Said = list[tuple[str, str]]


class Recorder:
    def __init__(self) -> None:
        self.said: Said = []

    def added(self, key: str) -> None:
        self.said.append(("added", key))

    def taken(self, key: str) -> None:
        self.said.append(("taken", key))

    def dropped(self, key: str) -> None:
        self.said.append(("dropped", key))

    def take(self) -> Said:
        said, self.said = self.said, []
        return said


def test_every_key_that_waits_is_told_once() -> None:
    recorder = Recorder()
    ready: Ready[str] = Ready(32, 8, recorder)
    for urgent in (False, False, True):
        ready.put("a", "ns", (), urgent=urgent)
    ready.put("a", "ns", (("lane", None),), urgent=True)
    assert recorder.take() == [("added", "a")], "another place in the order is no other key"
    for key in "bcd":
        ready.put(key, "ns", (), urgent=True)
    recorder.take()
    ready.regroup((), (("lane", None),))
    assert recorder.take() == []
    picked = ready.pick(lambda group, namespace: True, places=1, kept=0)
    assert picked is not None
    assert recorder.take() == [("taken", picked[0])]
    (left, *rest) = sorted(set("abcd") - {picked[0]})
    ready.remove(left)
    ready.remove(left)
    assert recorder.take() == [("dropped", left)]
    ready.clear()
    assert sorted(recorder.take()) == [("dropped", key) for key in rest]
    assert len(ready) == 0 and ready.pick(lambda group, namespace: True, places=1, kept=0) is None
    ready.put("a", "ns", (), urgent=False)
    assert ready.pick(lambda group, namespace: True, places=1, kept=0) == ("a", (), False)
