"""Propensities: with which probability the service showed what it showed."""
