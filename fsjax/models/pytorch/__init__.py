"""PyTorch modules as JAX functions: a module's exported graph, its operators, and their arithmetic."""
