"""Where a driver wants to go: the lateral offset with the most progress, and the acceleration behind what is there.

Like PDM-style planners: candidates are offsets from the driver's own path, weighed by the progress that an
intelligent-driver model would make on each of them. ``lead`` arrays hold gap and speed of what is followed on a
candidate, gap and speed of what is still ahead while moving over, and whether the first may be passed.
"""

from __future__ import annotations

import math

from drivetrain.data.synthetic.kernels.columns import (
    ACCEL,
    ACMD,
    BRAKE,
    D_REF,
    DT,
    GAP,
    GO_AT,
    HEADWAY,
    HI,
    HI_ONCOMING,
    HOME,
    LENGTH,
    LO,
    PARKED,
    PASSABLE,
    PV,
    REAR,
    SLOPE,
    SPEED,
    STOP_AT,
    TARGET,
    WIDTH,
    S,
    V,
)
from drivetrain.data.synthetic.kernels.path_frame import value_at
from drivetrain.sim.kernel_cache import jit

SAMPLES = 40
"""Points at which a lateral move is looked at."""
INFEASIBLE = 1e4
EVERY = 6
"""Frames between two searches over all offsets; what is on the chosen one is looked at every second frame."""


@jit
def idm(v, v0, gap, v_lead, headway, a, b, s0):
    """Return the intelligent-driver acceleration, tempered where a gap is short but not closing.

    Source: Kesting, Treiber, Helbing (2010), "Enhanced intelligent driver model", with a lead that keeps its speed.
    """
    want = s0 + max(0.0, v * headway + v * (v - v_lead) / (2.0 * math.sqrt(a * b)))
    free = 1.0 - (v / max(v0, 0.1)) ** 4 if v <= v0 else max(-2.0, (v0 - v) / 0.8)
    gap = max(gap, 0.3)
    acc = a * max(free, -2.0) - a * (want / gap) ** 2
    needed = -(max(0.0, v - v_lead) ** 2) / (2.0 * gap)
    if acc < needed:
        acc = needed + b * math.tanh((acc - needed) / b)
    return acc


@jit
def sharpest(v):
    """Return the largest curvature of a lateral move at a speed [1/m]."""
    return min(0.10, 1.2 / (v * v + 1e-6))


@jit
def shift(slope, d, target, bend, ds):
    """Advance the lateral reference by a distance ds: bounded slope and curvature, no overshoot."""
    miss = target - d
    want = min(0.3, math.sqrt(1.2 * bend * abs(miss)), 0.4 * abs(miss))
    want = want if miss > 0 else -want
    slope += min(max(want - slope, -bend * ds), bend * ds)
    return slope, d + slope * ds


@jit
def sweep(t, i, path, target, dx, lo, hi):
    """Fill the interval swept by a lateral move; return the distance at which it would leave the road."""
    s, d, slope, width = t.st[i, S], t.st[i, D_REF], t.st[i, SLOPE], t.par[i, WIDTH]
    front = 0.5 * t.par[i, LENGTH] + t.par[i, REAR]
    bend, half = sharpest(t.st[i, V]), 0.5 * width + 0.1
    blocked = 1e9
    for k in range(SAMPLES):
        ahead = d + front * slope
        lo[k], hi[k] = min(d, ahead) - 0.5 * width, max(d, ahead) + 0.5 * width
        x = k * dx
        if blocked > 1e8 and x > 1.0:
            at, nose = min(int(s + x), len(path) - 1), min(int(s + x + front), len(path) - 1)
            left = max(d + half - path[at, HI_ONCOMING], ahead + half - path[nose, HI_ONCOMING])
            right = max(path[at, LO] - d + half, path[nose, LO] - ahead + half)
            if left > 0.0 or right > 0.0:
                blocked = x
        for _ in range(3):
            slope, d = shift(slope, d, target, bend, dx / 3.0)
    return blocked


@jit
def crossed(lo, hi, jlo, jhi, first, last):
    """Return whether an interval meets the swept one anywhere in a range of samples."""
    for k in range(max(0, first), min(SAMPLES - 1, last) + 1):
        if jlo < hi[k] and jhi > lo[k]:
            return True
    return False


@jit
def meeting(v, vs, gap, size, dx, oncoming):
    """Return the samples at which another vehicle is met; none where it is not caught up with."""
    if oncoming:
        pace = max(v, 3.0)
        at = max(gap, 0.0) * pace / (pace - vs)
        first, last = at - 1.2 * pace - 3.0, at + size + 1.2 * pace
    elif v > vs + 0.3:
        first = max(gap, 0.0) * v / (v - vs)
        last = first + (size + 1.0) * v / (v - vs)
    else:
        return SAMPLES - 1, SAMPLES - 1
    return int(first / dx), int(min(last, 1e6) / dx) + 1


@jit
def look(t, i, target, frenet, dx, lo, hi, lead):
    """Fill ``lead`` for a candidate whose sweep is known; return whether nobody is cut off by it."""
    s, d, v, width = t.st[i, S], t.st[i, D_REF], t.st[i, V], t.par[i, WIDTH]
    rear = 0.5 * t.par[i, LENGTH] - t.par[i, REAR]
    front = t.par[i, LENGTH] - rear
    moving_over = abs(target - d) > 0.4
    for j in range(len(t.st)):
        if frenet[j, 5] == 0.0:
            continue
        fs, vs, hs = frenet[j, 0], frenet[j, 2], frenet[j, 3]
        still = t.par[j, PARKED] > 0.0 or (t.par[j, PASSABLE] > 0.0 and t.st[j, V] < 0.3)
        margin = 0.45 if still else (0.7 if t.par[j, PASSABLE] > 0.0 else 0.4)
        jlo, jhi = frenet[j, 1] - frenet[j, 4] - margin, frenet[j, 1] + frenet[j, 4] + margin
        gap = fs - hs - s - front
        in_target = jlo < target + 0.5 * width and jhi > target - 0.5 * width
        in_now = jlo < d + 0.5 * width and jhi > d - 0.5 * width
        into = moving_over and in_target and not in_now
        if fs + hs < s - rear:
            behind = s - rear - fs - hs
            if into and vs > 0.5 and behind < 3.0 + 0.5 * vs + 2.4 * max(0.0, vs - v):
                return False
            continue
        if gap < 0.0 and into and not still:
            return False
        oncoming = vs < -1.0 and not still
        first, last = meeting(v, vs, gap, 2.0 * hs + rear + front, dx, oncoming)
        hard = first < SAMPLES and crossed(lo, hi, jlo, jhi, first, last)
        if oncoming:
            if hard and (moving_over or abs(target - t.par[i, HOME]) > 0.6):
                return False
            if hard and in_now and gap < lead[0]:
                lead[0], lead[1] = max(0.5 * gap, 0.3), 0.0
        elif hard and gap < lead[0]:
            lead[0], lead[1] = max(gap, 0.1), max(vs, 0.0)
            lead[4] = t.par[j, PASSABLE]
        elif not hard and in_now and -0.5 < gap < lead[2] and vs > -0.5:
            lead[2], lead[3] = max(gap, 0.1), max(vs, 0.0)
    return True


@jit
def progress(t, i, v0, lead, stop_gap):
    """Return the distance an intelligent driver covers in six seconds behind a lead and before a stop [m]."""
    v, gained, gap = t.st[i, V], 0.0, lead[0]
    a, b = t.par[i, ACCEL], t.par[i, BRAKE]
    for _ in range(12):
        acc = idm(v, v0, gap, lead[1], t.par[i, HEADWAY], a, b, t.par[i, GAP])
        if stop_gap < 1e8:
            acc = min(acc, idm(v, v0, stop_gap - gained, 0.0, 0.5, a, b, 1.0))
        acc = min(max(acc, -4.0), 3.0)
        step = max(0.0, v + 0.25 * acc) * 0.5
        v = max(0.0, v + 0.5 * acc)
        gained += step
        gap += lead[1] * 0.5 - step
    return gained


@jit
def weigh(t, i, path, target, frenet, lo, hi, v0, stop_gap, lead):
    """Return the value of driving to a lateral offset; fills ``lead``."""
    dx = max(1.0, 0.15 * t.st[i, V])
    home = t.par[i, HOME]
    blocked = sweep(t, i, path, target, dx, lo, hi)
    lead[0], lead[1], lead[2], lead[3], lead[4] = 1e9, 0.0, 1e9, 0.0, 0.0
    if blocked < 1e8 and abs(target - home) > 0.2:
        lead[0] = max(blocked - 2.0, 0.5)
    feasible = look(t, i, target, frenet, dx, lo, hi, lead)
    value = progress(t, i, v0, lead, stop_gap) - 0.9 * abs(target - home)
    if abs(target - t.st[i, TARGET]) > 0.2:
        value -= 1.5
    if target + 0.5 * t.par[i, WIDTH] > value_at(path, t.st[i, S] + 10.0, HI):
        value -= 2.0
    return value if feasible else value - INFEASIBLE


@jit
def choose(t, frame, i, path, frenet, lo, hi, v0, stop_gap, lead, best_lead):
    """Return the lateral offset agent i drives to; fills ``best_lead`` with what is ahead there."""
    home, now, v, width = t.par[i, HOME], t.st[i, TARGET], t.st[i, V], t.par[i, WIDTH]
    best, target = weigh(t, i, path, now, frenet, lo, hi, v0, stop_gap, best_lead), now
    if now == home and best_lead[0] > 12.0 + 5.0 * max(v - best_lead[1], 0.0) + 1.5 * v:
        return target
    if (frame + 2 * i) % EVERY and best > -0.5 * INFEASIBLE:
        return target
    # Oncoming lanes are borrowed only to pass what stands or pedals, never a queue.
    borrow = best_lead[4] > 0.0 or now > value_at(path, t.st[i, S], HI) - 0.5 * width
    left = value_at(path, t.st[i, S] + 3.0, HI_ONCOMING if borrow else HI) - 0.5 * width - 0.2
    right = value_at(path, t.st[i, S] + 3.0, LO) + 0.5 * width + 0.2
    for n in range(-1, int((left - right) / 0.5) + 3):
        offset = home if n < 0 else math.floor(right / 0.5) * 0.5 + 0.5 * n
        if (n >= 0 and not right <= offset <= left) or abs(offset - now) < 0.05:
            continue
        value = weigh(t, i, path, offset, frenet, lo, hi, v0, stop_gap, lead)
        if value > best:
            best, target = value, offset
            best_lead[:] = lead
    return target


@jit
def allowed_speed(t, frame, i, path):
    """Return the speed that limits and bends ahead allow, and that the driver wants."""
    v, s = t.st[i, V], int(t.st[i, S])
    best = 1e9
    for ahead in range(0, int(max(10.0, v * v / 2.4 + v)) + 1, 2):
        wanted = path[min(s + ahead, len(path) - 1), PV] * t.par[i, SPEED]
        best = min(best, math.sqrt(wanted * wanted + 2.0 * 1.3 * max(0.0, ahead - 1.0)))
    return 0.1 if t.par[i, STOP_AT] <= frame * DT < t.par[i, GO_AT] else best


@jit
def decide(t, frame, i, path, frenet, lo, hi, lead, best_lead, stop_gap, zip_gap, zip_speed):
    """Set the lateral target and the commanded acceleration of agent i."""
    v, v0 = t.st[i, V], allowed_speed(t, frame, i, path)
    t.st[i, TARGET] = choose(t, frame, i, path, frenet, lo, hi, v0, stop_gap, lead, best_lead)
    a, b, headway, gap = t.par[i, ACCEL], t.par[i, BRAKE], t.par[i, HEADWAY], t.par[i, GAP]
    # Behind what stands for good one keeps room to pull out.
    room = gap + (4.5 if best_lead[4] > 0.0 and best_lead[1] < 0.5 else 0.0)
    acc = idm(v, v0, best_lead[0], best_lead[1], headway, a, b, room)
    acc = min(acc, idm(v, v0, best_lead[2], best_lead[3], 0.5, a, b, 1.0))
    if zip_gap < 1e8:
        acc = min(acc, max(-2.0, idm(v, v0, max(zip_gap, 0.5), zip_speed, headway, a, b, gap)))
    if stop_gap < 1e8:
        acc = min(acc, idm(v, v0, stop_gap, 0.0, 0.4, a, b, 0.8))
    acc = min(max(acc, -6.0), 2.0)
    fall = max(0.2 if acc > -3.5 else 1.0, 0.12 * abs(acc))
    acc = min(max(acc, t.st[i, ACMD] - fall), t.st[i, ACMD] + 0.2)
    t.st[i, ACMD] = 0.0 if v < 0.05 and acc < 0.0 else acc
