"""A device that is none: tensors that say they are on `cuda:0`, hold their numbers on the CPU, and refuse what CUDA refuses.

In: code that takes a device. Out: its results, or the error it would meet on a GPU: tensors of two devices in one operation,
`.numpy()` on a tensor that is not on the CPU. Run: `with pretend_cuda(): …`, in one thread, without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
CROSSES = {"aten::_to_copy", "aten::copy_"}
"""Operations between devices."""
INDEXES = {"aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}
"""Operations whose indices may be on the CPU."""


class OnCuda(torch.Tensor):
    """A tensor that says it is on `cuda:0`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCuda:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=CUDA, storage_offset=held.storage_offset()
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class Pretend(TorchDispatchMode):
    """Lets tensors be made on `cuda:0`; as torch's own fake mode does, it keeps torch from looking for a driver."""

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the numbers that are held, with CUDA's rule that tensors of one operation are on one device."""
    name = func._schema.name if func._overloadname == "default" else f"{func._schema.name}.{func._overloadname}"
    name = func._schema.name if func._schema.name in CROSSES | INDEXES else name
    wanted = kwargs.get("device")
    leaves, _ = tree_flatten((args[:1] if name in INDEXES else args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    places = {type(t) is OnCuda for t in tensors if t.dim() > 0} or {type(t) is OnCuda for t in tensors}
    if len(places) > 1 and name not in CROSSES:
        raise RuntimeError(f"expected all tensors to be on the same device, but found cuda:0 and cpu in {name}")
    there = any(type(t) is OnCuda for t in tensors) if wanted is None else torch.device(wanted).type == "cuda"
    if name == "aten::copy_":
        there = type(args[0]) is OnCuda
    bare = tree_map(lambda a: a.held if type(a) is OnCuda else a, (args, kwargs | ({"device": CPU} if wanted else {})))
    found = func(*bare[0], **bare[1])
    flat, spec = tree_flatten(found)
    known = {id(b): a for a, b in zip(tree_flatten(args)[0], tree_flatten(bare[0])[0], strict=True)}
    made = [known[id(x)] if id(x) in known else OnCuda(x) if there and isinstance(x, torch.Tensor) else x for x in flat]
    return tree_unflatten(made, spec)


@contextmanager
def pretend_cuda() -> Iterator[torch.device]:
    """Inside, `cuda:0` is such a device."""
    torch._C._ensureCUDADeviceGuardSet()
    with Pretend():
        yield CUDA
