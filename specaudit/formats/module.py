"""A live ``torch.nn.Module`` as a `Model`: its own tensors, its modules' own attributes."""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from specaudit.errors import ModelError
from specaudit.model import Model, Weight

if TYPE_CHECKING:
    import torch
    from torch import nn

    from specaudit.model import Tensor

_SCALARS = (bool, int, float, str)


def load(module: "nn.Module", example_inputs: object = None) -> Model:
    """Return the parameters and buffers of a module, as ``state_dict()`` names them.

    Parameters
    ----------
    module : torch.nn.Module
        On any device; it is read, not changed.
    example_inputs : tensor, sequence or mapping, optional
        What it is called with to trace its graph, in evaluation mode.

    Returns
    -------
    Model
        Of format ``module``, without a graph unless there are example inputs. `digest` is
        the SHA-256 of names and values.

    Raises
    ------
    ModelError
        If the module has no tensors, or one without data (on the ``meta`` device), or it
        cannot be exported.
    """
    roles = {name: "parameter" for name, _ in module.named_parameters(remove_duplicate=False)}
    weights = []
    digest = hashlib.sha256()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_meta:
            raise ModelError(
                "a tensor on the meta device has no values", where=name, help="load the weights"
            )
        read = _reader(tensor)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        digest.update(np.ascontiguousarray(read()).view(np.uint8).data)
        first = tensor.untyped_storage().data_ptr()
        start = tensor.data_ptr() - first
        weights.append(
            Weight(
                name=name,
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                read=read,
                storage=f"{tensor.device}:{first:#x}",
                extent=(start, start + tensor.numel() * tensor.element_size()),
                role="parameter" if roles.get(name) else "buffer",
                source=tensor,
            )
        )
    if not weights:
        raise ModelError(f"{type(module).__name__} has no parameters or buffers")
    model = Model(
        path=type(module).__name__,
        format="module",
        digest=digest.hexdigest,
        weights=tuple(weights),
        attributes={name: _attributes(part) for name, part in module.named_modules()},
        source=module,
    )
    if example_inputs is None:
        return model
    from specaudit.formats import tracing  # torch's exporter

    return tracing.with_module(model, module, example_inputs)


def _reader(tensor: "torch.Tensor") -> "Callable[[], Tensor]":
    def read() -> "Tensor":
        import ml_dtypes
        import torch

        values = tensor.detach().cpu().contiguous()
        dtype = getattr(ml_dtypes, str(tensor.dtype).removeprefix("torch."), None)
        if dtype is None:
            return np.array(values.resolve_conj().resolve_neg().numpy())
        # NumPy has no such type of its own: the bytes are taken over.
        raw = values.view(torch.uint8 if values.element_size() == 1 else torch.uint16)
        return np.array(raw.numpy().view(dtype)).reshape(tuple(tensor.shape))

    return read


def _attributes(module: "nn.Module") -> Mapping[str, object]:
    found: dict[str, object] = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (
            isinstance(value, _SCALARS)
            or (isinstance(value, tuple) and all(isinstance(v, _SCALARS) for v in value))
        )
    }
    return {"class": type(module).__name__, "training": module.training, **found}
