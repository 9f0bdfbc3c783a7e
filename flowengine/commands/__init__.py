"""The commands of `flowengine`, one file a group; `flowengine.cli` finds and runs them."""
