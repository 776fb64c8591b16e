"""PyTorch modules as JAX functions: a module's exported graph, and the arithmetic of its operators in JAX."""
