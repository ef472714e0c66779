"""Scoring of whole logs."""
