"""Where the images come from: one module per kind of source, all reached through utils.datasets."""
