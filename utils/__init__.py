"""The library behind the notebooks. Each room imports only from itself and from those before it in `ROOMS`."""

ROOMS = (
    "errors",
    "files",
    "devices",
    "figures",
    "data",
    "models",
    "training",
    "runs",
    "my_utils",
    "optim",
    "recipes",
    "evaluation",
    "report",
    "experiments",
    "teaching",
    "notebook",
)
