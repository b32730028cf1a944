"""Describe a run's network for network.json: its class, its import path, its source text and its layers."""

from __future__ import annotations

import torch
from torch import nn

from utils.models.source import import_path, sources_of, unwrapped
from utils.models.summary import summarise


class FirstImage:
    """Record the shape of a network's input images, by a hook that is called with the first batch."""

    def __init__(self, net: nn.Module):
        self.image = None  # after the first batch: zeros (1, ...) with the shape of an image
        self._hook = net.register_forward_pre_hook(self._note)

    def _note(self, net, inputs):
        if inputs and isinstance(inputs[0], torch.Tensor):
            self.image = torch.zeros_like(inputs[0][:1])
        self.remove()

    def remove(self):
        """Remove the hook from the network."""
        self._hook.remove()


def describe_network(net: nn.Module, image: torch.Tensor | None, path: str | None = None, settings=None) -> dict:
    """Return the content of network.json; without layers if the network cannot be called with a single image."""
    net = unwrapped(net)
    facts = {"path": path or import_path(type(net)), "settings": settings or {}}
    facts["source"] = "\n\n".join(sources_of(net).values()) or None
    try:
        return facts | summarise(net, image)
    except Exception as error:  # a missing record must not end the training
        layers = {"class": type(net).__name__, "printed": str(net), "layers": []}
        return facts | layers | {"problem": f"{type(error).__name__}: {error}"}
