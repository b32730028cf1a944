"""The shared library of the CIFAR-10 coursework notebooks; README.md has the map."""
