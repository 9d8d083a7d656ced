"""Random numbers keyed by what they are for, so that no batch split or thread can change them."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel

MASK = 0xFFFFFFFF


@kernel(inline=True)
def _mix(x):
    """Scramble 32 bits (a multiplicative hash; products stay below 2^63, so Python and machine integers agree)."""
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & MASK
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & MASK
    return x ^ (x >> 16)


@kernel
def draw_bits(seed, world, episode, purpose, index):
    """Return 32 random bits for (seed, world, episode, purpose, index)."""
    h = _mix((seed & MASK) ^ 0x3C6EF372)
    h = _mix(h ^ ((seed >> 32) & MASK))
    h = _mix(h ^ (world & MASK))
    h = _mix((h + 0x1E3779B9) & MASK ^ (episode & MASK))
    h = _mix((h + 0x1E3779B9) & MASK ^ (purpose & MASK))
    return _mix((h + 0x1E3779B9) & MASK ^ (index & MASK))


@kernel
def draw_index(count, seed, world, episode, purpose, index):
    """Return an integer in [0, count)."""
    return (draw_bits(seed, world, episode, purpose, index) * count) >> 32


@kernel
def draw_uniform(low, high, seed, world, episode, purpose, index):
    """Return a number in [low, high)."""
    return low + (high - low) * (draw_bits(seed, world, episode, purpose, index) / 4294967296.0)
