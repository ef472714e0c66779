"""A module that is whole in itself: whatever holds it neither trains, casts, saves nor overwrites it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

_Held = TypeVar("_Held", bound="Frozen")
_Given = ParamSpec("_Given")
_Back = TypeVar("_Back")
_Method = TypeVar("_Method", bound=Callable[..., Any])


class Frozen(nn.Module):
    """Modules set on it stay out of what a parent sees of it.

    A parent's ``parameters()``, ``state_dict()`` and ``apply()`` do not reach them, so that no optimiser, checkpoint or
    initialisation does. ``load_state_dict`` of a parent passes over keys of it, which older checkpoints may hold. Of
    ``to``, ``half`` and their like only the device counts. Its own `state_dict` is for a look at the weights.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module):
            object.__setattr__(self, name, value.eval().requires_grad_(False))
        else:
            super().__setattr__(name, value)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        parts = [self, *(part for _, part in self.held())]
        return next(tensor for part in parts for tensor in (*part.parameters(), *part.buffers())).device

    def held(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules that it holds, by name."""
        yield from ((name, part) for name, part in vars(self).items() if isinstance(part, nn.Module))

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in eval mode: a ranker that trains with this function in it does not train it."""
        for _, part in self.held():
            part.eval()
        return super().train(False)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Its weights where it is asked itself, nothing where a parent asks."""
        if args or options.get("destination") is not None:
            return args[0] if args else options["destination"]
        parts = {name: part.state_dict(keep_vars=options.get("keep_vars", False)) for name, part in self.held()}
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:  # noqa: ARG002
        """Refuse: it stays what it is.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"a {type(self).__name__} is frozen and takes no weights: save one with reward.scoring.artifact.save, and "
            "load it with reward.load"
        )

    def _load_from_state_dict(self, *_: Any) -> None:
        """Take nothing from a parent's state."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(fn(tensor).device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        for _, part in self.held():
            part._apply(moved, recurse)
        return self


def as_trained(
    method: Callable[Concatenate[_Held, _Given], _Back],
) -> Callable[Concatenate[_Held, _Given], _Back]:
    """Run a method of a `Frozen` without gradients and in the precision of its weights, under any autocast."""

    @wraps(method)
    def exact(self: _Held, /, *args: _Given.args, **options: _Given.kwargs) -> _Back:
        kinds = {"cpu", *(p.device.type for _, part in self.held() for p in part.parameters())}
        with torch.no_grad(), ExitStack() as stack:
            for kind in sorted(kinds):
                stack.enter_context(torch.autocast(kind, enabled=False))
            return method(self, *args, **options)

    return exact


def eager(method: _Method) -> _Method:
    """Leave a method out of torch.compile, which cannot trace a data frame.

    As `torch.compiler.disable` does, and without loading the compiler before the method is called.
    """
    return cast(_Method, _disable_dynamo(method))
