"""The flows that ship: each `<name>.json` with its own tests in `<name>.test.json`."""
