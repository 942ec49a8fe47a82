"""Fixtures of this subject (placeholder until its first fixture lands)."""
