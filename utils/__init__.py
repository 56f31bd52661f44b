"""Tools behind the four lumbar-spine notebooks. Each module imports only from the floors below it; see docs/code.md."""

__version__ = "0.1.0"
