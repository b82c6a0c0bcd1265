"""What was read and may be asked for again, as much of it as fits: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


class Shelf(Generic[Key, Thing]):
    """A bounded memory.

    Args:
        most: How many bytes all things on it may have together, by what :meth:`put` is told of each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: OrderedDict[Key, tuple[Thing, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes are on it."""
        return self._size

    def get(self, key: Key) -> Thing | None:
        """Return a thing, if it is still there."""
        if key not in self._things:
            return None
        self._things.move_to_end(key)
        return self._things[key][0]

    def put(self, key: Key, thing: Thing, size: int) -> None:
        """Remember a thing, and forget what has to go for it; one that is larger than all may be is not remembered."""
        self._size -= self._things.pop(key, (thing, 0))[1]
        if size > self._most:
            return
        self._things[key] = (thing, size)
        self._size += size
        while self._size > self._most:
            _, (_, freed) = self._things.popitem(last=False)
            self._size -= freed

    def drop(self, key: Key) -> None:
        """Forget a thing."""
        if key in self._things:
            self._size -= self._things.pop(key)[1]
