"""Write a model card: a page of Markdown that says what a network is for, how it was trained and how good it is.

Its first lines are those that the Hugging Face Hub reads.
"""

from __future__ import annotations

import json


def about_training(trained) -> dict:
    """Return what the record of a training says for its card; a fact that is not known is left out.

    The entries are data, images, epochs, seed, run, device, and test: {"accuracy", "interval"}.
    """
    run = trained.run
    record = (run.record if run else None) or trained.facts
    about = {name: record.get(name) for name in ("data", "images", "seed", "device")}
    evaluation = (run.evaluation if run else None) or {}
    about |= {"epochs": len(trained.history), "run": run.name if run else None}
    about["test"] = {key: evaluation[key] for key in ("accuracy", "interval") if key in evaluation}
    return {name: value for name, value in about.items() if value}


def model_card(name: str, classes: tuple, parity: dict, about: dict) -> str:
    """Return the card as Markdown."""
    data = about["data"].get("name") if isinstance(about.get("data"), dict) else None
    test = about.get("test") or {}
    head = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "cifar10", "onnx"],
    }
    if data == "CIFAR-10":
        head["datasets"] = ["uoft-cs/cifar10"]
    if data == "CIFAR-10" and test:
        dataset = {"name": data, "type": "uoft-cs/cifar10", "split": "test"}
        metrics = [{"type": "accuracy", "value": round(test["accuracy"], 4)}]
        result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}
        head["model-index"] = [{"name": name, "results": [result]}]
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()), "---", ""]
    lines += [f"# {name}", "", f"A small network that classifies images: {', '.join(classes)}.", ""]
    lines += ["**Before you publish it,** add a line `license: ...` above, and say who made it.", "", "## Training", ""]
    for label, value in {"Images": data, **{key.capitalize(): about.get(key) for key in FACTS}}.items():
        lines.append(f"- {label}: {'unknown' if value is None else value}")
    lines += ["", "## Accuracy", "", _accuracy(data, test), "", USE.replace("NAME", name), _differences(parity), LIMITS]
    return "\n".join(lines)


FACTS = ("run", "epochs", "seed", "device")


def _accuracy(data, test):
    if not test:
        return "It was not measured on test images."
    text = f"{test['accuracy']:.2%} of the test images ({data or 'unknown images'}) are classified correctly"
    low, high = test.get("interval") or (None, None)
    return f"{text}." if low is None else f"{text}; the 95 % interval is {low:.2%} to {high:.2%}."


def _differences(parity):
    rows = [f"| `{file}` | {facts['largest']:.0e} | {facts['same_class']:.2%} |" for file, facts in parity.items()]
    head = ["| file | largest difference of a probability | same class |", "|---|---:|---:|"]
    text = "Each file was compared with the network in PyTorch; `parity.json` has the details."
    return "\n".join([text, "", *head, *rows, ""])


USE = """## Use

Every file takes pixels from 0 to 1, shape (batch, 3, height, width), red first, and returns the probabilities of the
classes in `classes.txt`. The normalisation is inside.

```python
net = torch.export.load("NAME.pt2").module()
probabilities = net(pixels)

session = onnxruntime.InferenceSession("NAME.onnx")
(probabilities,) = session.run(None, {"pixels": pixels.numpy()})
```

For MATLAB, `import_network.m` imports the network and compares it with `reference.mat`. `NAME.pt` is for programs that
read TorchScript.
"""
LIMITS = """## Limits

The network always names one of its classes, whatever the image shows. It was trained on small images of 32x32 pixels;
its accuracy on photos of another kind is not known, and is probably lower.
"""
