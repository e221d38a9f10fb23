"""The `wio` command: one module per noun, talking to the broker over its REST API."""

from broker.cli.app import main

__all__ = ["main"]
