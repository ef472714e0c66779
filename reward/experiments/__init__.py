"""Past experiments: which signals foretell the north star, how good a proxy is, and what the next test takes."""
