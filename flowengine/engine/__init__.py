"""Runs flows: regions, boundaries, delivery, state, and the runtime that stands on top."""
