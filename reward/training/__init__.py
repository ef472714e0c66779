"""A run: its settings and their checks, its folder and what is in it, the fit, and the stages after it."""
