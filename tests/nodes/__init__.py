"""Tests: the promises of flowengine, one module a promise."""
