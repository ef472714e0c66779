"""Past experiments: what foretells the north star, how good a proxy or surrogate is, and what the next test takes."""
