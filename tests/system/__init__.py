"""Tests against real programs, which nobody on this project wrote."""
