"""Measurements: every figure that the documentation names comes from a script here."""
