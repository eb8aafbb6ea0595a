"""Whatever order reads, their notes, looks and the watch come in: in the end everybody has read what there is."""

from random import Random

import pytest

from cipher_operator.queue.references import ABSENT, References, Version

REF = "pg-admin"
KEYS = ("chat", "shop", "team")
CONTENTS = ("a", "b")
STEPS = ("change", "ask", "begin", "begin", "read", "read", "note", "note", "watch", "watch", "look", "looked")


class World:
    """An API server with one input, a watch that lags behind it, looks of whoever owns the watch, and runs, each of
    which begins, reads, and notes later what it has read."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.live: Version | None = None
        self.history: list[Version | None] = []
        self.told = 0
        self.asked: set[str] = set()
        self.running: dict[str, Version | None] = {}
        self.known: dict[str, Version] = {}
        self.to_look, self.looking = False, list[tuple[Version | None, int]]()
        self.inputs: References[str, str] = References(self.asked.add)

    @property
    def content(self) -> Version:
        return ABSENT if self.live is None else self.live

    def change(self) -> None:
        stays = self.live is None or self.random.random() < 0.6
        self.live = Version(len(self.history) + 1, self.random.choice(CONTENTS)) if stays else None
        self.history.append(self.live)

    def ask(self) -> None:
        self.asked.add(self.random.choice(KEYS))

    def begin(self) -> None:
        if idle := sorted(self.asked - self.running.keys()):
            key = self.random.choice(idle)
            self.asked.discard(key)
            self.inputs.set_references(key, {REF})
            self.running[key] = None

    def read(self) -> None:
        if unread := [key for key, version in self.running.items() if version is None]:
            self.running[self.random.choice(unread)] = self.content

    def note(self) -> None:
        if read := [(key, version) for key, version in self.running.items() if version is not None]:
            key, version = self.random.choice(read)
            del self.running[key]
            self.inputs.read(key, REF, version)
            self.known[key] = version

    def watch(self) -> None:
        if self.told < len(self.history):
            seen = self.history[self.told]
            self.told += 1
            if seen is None:
                self.inputs.gone(REF)
            elif self.inputs.seen(REF, seen.revision):
                self.to_look = True

    def look(self) -> None:
        if self.to_look and not self.looking:
            self.to_look = False
            self.looking.append((self.content if self.inputs.watched(REF) else None, self.inputs.newest(REF)))

    def looked(self) -> None:
        while self.looking:
            found, newest = self.looking.pop()
            if found == ABSENT:
                self.inputs.gone(REF, newest=newest)
            elif found is not None:
                self.inputs.changed(REF, found)

    def settle(self) -> None:
        for _ in range(60):
            for step in ("watch", "look", "looked", "begin", "read", "note"):
                getattr(self, step)()


@pytest.mark.parametrize("seed", range(8))
def test_in_the_end_everybody_has_read_what_there_is(seed: int) -> None:
    for number in range(250):
        random = Random(f"{seed}/{number}")
        world = World(random)
        for _ in range(random.randrange(5, 60)):
            getattr(world, random.choice(STEPS))()
        world.settle()
        assert (world.asked, world.running) == (set(), {}), f"{seed}/{number} comes to an end"
        assert {version.digest for version in world.known.values()} <= {world.content.digest}, f"{seed}/{number}"
