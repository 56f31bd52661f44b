"""What the four lumbar-spine notebooks run.

Each package imports only from the layers below it; the map is docs/code.md.
"""

__version__ = "0.1.0"
