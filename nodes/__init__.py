"""The node families: one module to a family, found by its name (see flowengine.registry)."""
