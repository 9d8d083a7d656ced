"""Savitzky-Golay filter: least-squares polynomials over a moving window, and their derivatives.

As nuPlan uses it: inner samples take the middle of the polynomial of the window around them, the first and last half
window take the polynomial of the first and last full window. Where the window is even it has no middle sample: inner
samples then take the value half a sample later, the outer ones their own place, which nuPlan's numbers contain.

Source: Savitzky, Golay, Analytical Chemistry 36 (1964); SciPy documents the same treatment of ends as mode 'interp'.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from drivetrain.sim.scenario import Float64


def smoothed(values: Float64, *, window: int, order: int, derivative: int = 0, step: float = 1.0) -> Float64:
    """Return the filtered values or a derivative of them, the shape of ``values`` [..., T].

    Args:
        values: Evenly spaced samples, shape [..., T].
        window: Samples per polynomial; at most T of them are used.
        order: Degree of the polynomial, below the window.
        derivative: 0 for the value, 1 for the slope, 2 for the curvature.
        step: Distance between samples.
    """
    num = values.shape[-1]
    return values @ operator_matrix(num, min(window, num), order, derivative).T / step**derivative


@functools.lru_cache(maxsize=256)
def operator_matrix(num: int, window: int, order: int, derivative: int) -> Float64:
    """Return the filter as a matrix [num, num] for samples one apart."""
    if window <= order:
        raise ValueError(f"a polynomial of degree {order} needs more than {window} samples")
    half = window // 2
    matrix = np.zeros((num, num))
    inner = _weights(window, order, derivative, (window - 1) / 2)
    for i in range(num):
        if i < half:
            matrix[i, :window] = _weights(window, order, derivative, i)
        elif i >= num - half:
            matrix[i, num - window :] = _weights(window, order, derivative, i - (num - window))
        else:
            # An even window reaches one sample farther ahead than back.
            first = i - (window - 1) // 2
            matrix[i, first : first + window] = inner
    return matrix


@functools.lru_cache(maxsize=4096)
def _weights(window: int, order: int, derivative: int, at: float) -> Float64:
    """Return the weights [window] that give the fitted polynomial's derivative at a place in the window."""
    # Centred powers keep the normal equations well conditioned; `at` is then the offset from the middle.
    middle = (window - 1) / 2
    powers = (np.arange(window) - middle)[:, None] ** np.arange(order + 1)
    offset = at - middle
    row = np.zeros(order + 1)
    for k in range(derivative, order + 1):
        row[k] = math.factorial(k) / math.factorial(k - derivative) * offset ** (k - derivative)
    return row @ np.linalg.pinv(powers)
