"""What runs kernels: compilation, caches, threads and memory.  Knows nothing of tensors."""
