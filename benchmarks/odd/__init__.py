"""Frames that are not as a log should be."""
