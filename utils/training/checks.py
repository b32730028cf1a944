"""Check the arguments of train_ch3 before anything is trained or written."""

from __future__ import annotations

import functools
import inspect
import re

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from utils.errors import CourseworkError


def check_training(net, loss, optimizer, step):
    """Raise an error if this network can't be trained with this loss, optimizer and step."""
    check_network(net)
    if any(is_lazy(parameter) for parameter in net.parameters()):
        what = "The network has lazy layers, whose weights have no shape before the first batch."
        next_step = "Call net(X) with one batch of images first, and make the optimizer after that."
        raise CourseworkError(what, where="net", next_step=next_step)
    if isinstance(step, type):
        what = f"step must be an object or a function, but {step.__name__} is a class."
        raise CourseworkError(what, where="step", next_step=f"Write {step.__name__}().")
    check_loss(loss, step)
    check_optimizer(optimizer, net, step)


def check_network(net):
    """Raise an error if net is not an nn.Module."""
    if not isinstance(net, nn.Module):
        what = f"net must be an nn.Module, but is {name_of_type(net)}."
        advice = f"Make an object of the class: {net.__name__}()." if isinstance(net, type) else "Give the network."
        raise CourseworkError(what, where="net", next_step=advice)


def check_loss(loss, step):
    """Raise an error if the loss can't be called with (y_hat, y)."""
    if loss is None and not is_ours(step):  # the user's own step may compute its loss itself
        return
    if isinstance(loss, type):
        what = f"loss must be an object or a function, but {loss.__name__} is a class."
        raise CourseworkError(what, where="loss", next_step=f"Write {loss.__name__}().")
    if not callable(loss):
        what = f"loss must be callable as loss(y_hat, y), but is {name_of_type(loss)}."
        raise CourseworkError(what, where="loss", next_step="For example: nn.CrossEntropyLoss().")
    check_reduction(loss)


def check_reduction(loss):
    """Raise an error if a loss says that it returns a sum over the batch."""
    settings = loss.keywords if isinstance(loss, functools.partial) else getattr(loss, "__dict__", {})
    if settings.get("reduction") == "sum":
        what = "The loss returns the sum over the batch, so its gradient would grow with the number of images."
        next_step = 'Leave out reduction="sum": the loss must be a mean, or one value for each image.'
        raise CourseworkError(what, where="loss", next_step=next_step)


def check_score_shape(y_hat, name):
    """Raise an error unless y_hat is a tensor (B, classes)."""
    is_tensor = isinstance(y_hat, torch.Tensor)
    if is_tensor and y_hat.ndim == 2 and y_hat.shape[1] > 1:
        return
    content = f"have the shape {tuple(y_hat.shape)}" if is_tensor else f"are {name_of_type(y_hat)}"
    what = f"Scores must be a tensor (B, classes), with two classes at least, but {content}."
    next_step = "End the network with nn.Flatten() and nn.Linear(..., classes). Two classes need two scores."
    if not is_tensor:
        next_step = "Let forward return the scores alone; torchvision's GoogLeNet and Inception need aux_logits=False."
    elif y_hat.ndim < 2:
        next_step += " Leave out squeeze(), which also removes the dimension of a batch with one image."
    raise CourseworkError(what, where=name, next_step=next_step)


def check_loss_arguments(loss, y_hat, y, error):
    """Raise an error if the shapes of scores and labels explain why a loss failed."""
    check_score_shape(y_hat, "net(X)")
    if len(y_hat) != len(y):
        what = f"The network returned scores for {len(y_hat)} images, but the batch has {len(y)}."
        next_step = "Keep the first dimension in forward: X.flatten(1) does, but X.view(-1, n) may change it."
        raise CourseworkError(what, where="net(X)", next_step=next_step)
    if y.ndim == 1 and re.search("size of tensor|arget size", str(error)):
        name = getattr(loss, "__name__", type(loss).__name__)
        shapes = f"the scores have {tuple(y_hat.shape)} and the labels {tuple(y.shape)}"
        what = f"{name} compares tensors of equal shapes, but {shapes}."
        next_step = "Use nn.CrossEntropyLoss(), or a function that converts the labels: F.one_hot(y, classes).float()."
        raise CourseworkError(what, where="loss", next_step=next_step)


def check_optimizer(optimizer, net, step):
    """Raise an error if the optimizer would not change the network, or needs a closure that our steps lack."""
    where = "optimizer"
    if not all(hasattr(optimizer, name) for name in ("param_groups", "step", "zero_grad", "state_dict")):
        what = f"optimizer must be a torch.optim.Optimizer, but is {name_of_type(optimizer)}."
        next_step = "For example: torch.optim.SGD(net.parameters(), lr=0.1)."
        raise CourseworkError(what, where=where, next_step=next_step)
    weights = {id(parameter) for parameter in net.parameters()}
    optimized = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    of_this_network = [parameter for parameter in optimized if id(parameter) in weights]
    if not of_this_network:
        what = "The optimizer contains none of this network's parameters, so it would not train this network."
        next_step = "Make a new optimizer with net.parameters() whenever you make a new network."
        raise CourseworkError(what, where=where, next_step=next_step)
    if not any(parameter.requires_grad for parameter in of_this_network):
        what = "All parameters in the optimizer are frozen (requires_grad is False), so training would change nothing."
        raise CourseworkError(what, where=where, next_step="Unfreeze a layer, such as net.fc.requires_grad_(True).")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty and is_ours(step):
        what = f"{type(optimizer).__name__} needs a closure that computes the loss again, but this step passes none."
        next_step = "Choose another optimizer, or give train_ch3 your own step that calls optimizer.step(closure)."
        raise CourseworkError(what, where=where, next_step=next_step)


def check_watched(watched, test_iter):
    """Raise an error unless watched is "test" or "val"; with another name, two columns might have the same name."""
    if test_iter is not None and watched not in ("test", "val"):
        what = f'watched must be "test" or "val", the images in test_iter, but is {watched!r}.'
        raise CourseworkError(what, where="watched", next_step='Use "val" for images that you tune on, else "test".')


def is_ours(step):
    """Return True if a step belongs to this library, whose steps call optimizer.step() without a closure."""
    return (getattr(step, "__module__", None) or "").partition(".")[0] == "utils"


def name_of_type(item):
    return f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"
