"""The functions of ``nn.functional`` that are more than an operator by its own name, by family."""
