"""The room of optim."""
