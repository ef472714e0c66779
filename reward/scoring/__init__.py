"""Scoring: the function that scores, its artefact, and scores of logs of any size."""
