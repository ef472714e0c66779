"""A run from its settings to its folder: checks before training, where it starts, fitting, and the stages after."""
