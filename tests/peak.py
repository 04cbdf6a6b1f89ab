"""The most memory that tensors take at one time, counted on whatever device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """The most bytes of storages that were made within, and there, at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.now = 0
        self._tensors: dict[int, int] = {}
        """Number of tensors of each storage."""

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operator(*args, **(kwargs or {}))
        given = {storage._cdata for storage in map(_storage, _tensors((args, kwargs)))}
        for tensor in _tensors(made):
            storage = _storage(tensor)
            if storage._cdata not in self._tensors:
                if storage._cdata in given:
                    continue
                self._tensors[storage._cdata] = 0
                self.now += storage.nbytes()
            self._tensors[storage._cdata] += 1
            weakref.finalize(tensor, self._drop, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def _drop(self, storage: int, size: int) -> None:
        self._tensors[storage] -= 1
        if not self._tensors[storage]:
            del self._tensors[storage]
            self.now -= size


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
