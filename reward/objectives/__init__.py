"""Objectives: pure functions of a head's outputs and an outcome's targets, one number a row.

Wiring is by name: an objective's parameters are names that the head's ``outputs`` or the outcome's ``targets``
provide.
"""
