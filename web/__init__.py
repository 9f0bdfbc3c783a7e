"""The editor: pages and JSON routes over a folder of flows."""
