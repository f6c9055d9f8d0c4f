"""The `ncam` command: one module per group of commands, put together in `main`."""

from ncamlib.cli.main import app, main

__all__ = ["app", "main"]
