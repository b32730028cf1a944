"""What a run's folder keeps of its network, as network.json: its class, where to import it, its source, its layers."""

from __future__ import annotations

import torch
from torch import nn

from utils.models.source import import_path, sources_of
from utils.models.summary import summarise


class FirstImage:
    """The shape of the images that a network is given, noted when its first batch comes."""

    def __init__(self, net: nn.Module):
        self.image = None  # zeros (1, ...) like the first image, once there was one
        self._hook = net.register_forward_pre_hook(self._note)

    def _note(self, net, inputs):
        if inputs and isinstance(inputs[0], torch.Tensor):
            self.image = torch.zeros_like(inputs[0][:1])
        self.remove()

    def remove(self):
        """Leave the network as it was."""
        self._hook.remove()


def describe_network(net: nn.Module, image: torch.Tensor | None, path: str | None = None, settings=None) -> dict:
    """Return what network.json holds; a network that cannot be passed one image is told by its printed form alone."""
    facts = {"path": path or import_path(type(net)), "settings": settings or {}}
    facts["source"] = "\n\n".join(sources_of(net).values()) or None
    try:
        return facts | summarise(net, image)
    except Exception as error:  # a record is no reason to end a training
        layers = {"class": type(net).__name__, "printed": str(net), "layers": []}
        return facts | layers | {"problem": f"{type(error).__name__}: {error}"}
