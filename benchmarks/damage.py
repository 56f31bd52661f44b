"""Random damage to a file, as disks and transfers do it."""

from __future__ import annotations

import random

HEADER_BYTES = 1200  # where most of what a reader believes is written
CHANGES = (1, 4, 20, 200)  # bytes


def mutated(content: bytes, rng: random.Random, truncation: float = 1 / 3) -> bytes:
    """Some bytes changed, often in the header; with the probability truncation also truncated."""
    data = bytearray(content)
    for _ in range(rng.choice(CHANGES) if data else 0):
        reach = rng.choice([min(HEADER_BYTES, len(data)), len(data)])
        data[rng.randrange(reach)] = rng.randrange(256)
    if data and rng.random() < truncation:
        del data[rng.randrange(len(data)) :]
    return bytes(data)
