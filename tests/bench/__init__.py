"""How fast, how small: `make bench` runs flowengine, beside Node-RED where npm can install it."""
