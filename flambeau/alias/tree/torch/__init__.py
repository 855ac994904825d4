"""Stands for PyTorch on the path of processes that start afresh: importing it makes ``torch`` a name of flambeau."""

from flambeau.alias import install_as_torch

install_as_torch()
