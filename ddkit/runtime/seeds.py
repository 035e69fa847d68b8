"""Random numbers: every generator follows from (seed, purpose, indices), so no state is stored.

A run that was killed and resumed asks for the same generator again and draws the same numbers.
"""

import hashlib

import torch


def derive(seed: int, purpose: str, *indices: int) -> int:
    """Return a 63-bit seed that follows from `seed`, a `purpose` and any `indices`.

    Hashing keeps neighbouring seeds and steps unrelated, which adding them up would not.
    """
    text = f"{seed}/{purpose}/" + "/".join(str(index) for index in indices)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(
    seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a fresh generator on `device` for one purpose, such as ("shuffle", epoch)."""
    return torch.Generator(device).manual_seed(derive(seed, purpose, *indices))
