"""JAX building blocks for language models that reason better."""
