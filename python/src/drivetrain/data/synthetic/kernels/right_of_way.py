"""Who goes first: lights, conflicting connectors, alternate merging, pedestrians on crosswalks."""

from __future__ import annotations

import math

from drivetrain.data.synthetic.kernels.columns import (
    ACTIVE,
    FIRST_COME,
    FREE,
    LENGTH,
    PARKED,
    PH,
    PX,
    PY,
    REAR,
    WAITED,
    WIDTH,
    YIELDS,
    ZIPPER,
    S,
    V,
)
from drivetrain.sim.kernel_cache import jit

YELLOW, RED = 1, 2
FIRM_BRAKING = 2.8
"""A driver runs a yellow light only if stopping would need more than this [m/s^2]."""
COMMITTED_BRAKING = 2.2
"""A driver that would have to brake harder than this to stop keeps its permission [m/s^2]."""


@jit
def reaches(t, i):
    """Return how far agent i reaches behind and ahead of its rear axle [m]."""
    behind = 0.5 * t.par[i, LENGTH] - t.par[i, REAR]
    return behind, t.par[i, LENGTH] - behind


@jit
def may_enter(t, frame, i, m, frenet):
    """Return whether agent i may enter the connector of pass m: light, space behind it, holders, priority."""
    c, s_in, s_out, group = int(t.passes[m, 0]), t.passes[m, 1], t.passes[m, 2], int(t.passes[m, 4])
    rear, front = reaches(t, i)
    v = t.st[i, V]
    dist = s_in - t.st[i, S] - front
    light = t.lights[frame, group] if group >= 0 else 0
    if light == RED or (light == YELLOW and v * v / (2.0 * FIRM_BRAKING) <= dist - 0.7):
        return False
    for j in range(len(t.st)):
        if j == i or t.st[j, ACTIVE] == 0.0 or t.par[j, PARKED] > 0.0:
            continue
        ahead = frenet[j, 5] > 0.0 and abs(frenet[j, 1]) < 1.6 and frenet[j, 0] > t.st[i, S]
        # Nobody enters who would have to wait in the middle of the crossing.
        space = frenet[j, 0] - frenet[j, 3] - s_out
        if ahead and frenet[j, 2] < 1.5 and -25.0 < space < t.par[i, LENGTH] + 1.0:
            return False
        if in_the_way(t, frame, i, c, dist, rear, j):
            return False
    return True


@jit
def in_the_way(t, frame, i, c, dist, rear, j):
    """Return whether agent j keeps agent i, ``dist`` before connector c, from entering it."""
    v = t.st[i, V]
    j_rear, j_front = reaches(t, j)
    begin = t.pass_first[t.of_path[j]]
    for m in range(begin, t.pass_first[t.of_path[j] + 1]):
        b = int(t.passes[m, 0])
        rule = t.rule[c, b]
        leaves = t.passes[m, 1] + t.zone[b, c, 1] - t.st[j, S] + j_rear
        if rule in (FREE, ZIPPER) or leaves < -1.0:
            continue
        if t.granted[j, m - begin]:
            # Whoever holds it is let through, unless long gone when we arrive.
            mine = max(dist, 0.0) + t.zone[c, b, 0] - 2.0
            gone = t.st[j, V] > 2.5 and mine > 0.0 and (leaves + 1.5) / t.st[j, V] + 1.5 < mine / max(v, 2.0)
            if not gone:
                return True
        elif rule == FIRST_COME:
            # Of those who stand at their lines the one that has waited longest is next.
            at_line = t.passes[m, 1] - t.st[j, S] - j_front < 3.0
            if at_line and t.st[j, WAITED] > t.st[i, WAITED] + 5.0:
                return True
        elif rule == YIELDS:
            to_line = t.passes[m, 1] - t.st[j, S] - j_front
            if to_line > 75.0 or (t.passes[m, 4] >= 0 and t.lights[frame, int(t.passes[m, 4])] == RED):
                continue
            to_zone = to_line + t.zone[b, c, 0]
            arrive = min(to_zone / max(t.st[j, V], 0.1), math.sqrt(2.0 * max(to_zone, 0.0) / 1.5) + 0.5)
            need = max(dist, 0.0) + t.zone[c, b, 1] + rear + 1.0
            clear = (-v + math.sqrt(v * v + 2.0 * 1.3 * need)) / 1.3
            if arrive < clear + 0.8:
                return True
    return False


@jit
def line_gap(t, frame, i, frenet):
    """Return the gap to the line before the first connector that agent i may not enter; updates ``granted``."""
    rear, front = reaches(t, i)
    v, s = t.st[i, V], t.st[i, S]
    begin = t.pass_first[t.of_path[i]]
    for m in range(begin, t.pass_first[t.of_path[i] + 1]):
        local = m - begin
        if s - rear > t.passes[m, 2]:
            t.granted[i, local] = False
            continue
        dist = t.passes[m, 1] - t.passes[m, 3] - s - front
        if dist > max(25.0, v * v / 3.0 + 2.0 * v):
            break
        if dist < -0.3:
            t.granted[i, local] = True
            continue
        # Beyond the point of no return a permission is kept; before it the question is asked anew.
        if not t.granted[i, local] or v * v / (2.0 * COMMITTED_BRAKING) < dist - 0.3:
            t.granted[i, local] = may_enter(t, frame, i, m, frenet)
        if not t.granted[i, local]:
            t.st[i, WAITED] += 1.0 if v < 1.5 else 0.0
            return dist
        t.st[i, WAITED] = 0.0
    return 1e9


@jit
def zipper_lead(t, i):
    """Return gap and speed of whom agent i lets in where two lanes become one: who is nearer to the end goes first."""
    rear, front = reaches(t, i)
    s, best, speed = t.st[i, S], 1e9, 0.0
    for m in range(t.pass_first[t.of_path[i]], t.pass_first[t.of_path[i] + 1]):
        c, s_out = int(t.passes[m, 0]), t.passes[m, 2]
        if s - rear > s_out or s_out - s > 90.0:
            continue
        for j in range(len(t.st)):
            if j == i or t.st[j, ACTIVE] == 0.0 or t.par[j, PARKED] > 0.0:
                continue
            for n in range(t.pass_first[t.of_path[j]], t.pass_first[t.of_path[j] + 1]):
                if t.rule[c, int(t.passes[n, 0])] != ZIPPER or t.st[j, S] > t.passes[n, 2] + 5.0:
                    continue
                ahead = (s_out - s) - (t.passes[n, 2] - t.st[j, S])
                gap = ahead - front - reaches(t, j)[0]
                if (ahead > 0.0 or (ahead == 0.0 and j < i)) and gap < best:
                    best, speed = gap, t.st[j, V]
    return best, speed


@jit
def crosswalk_gap(t, i, path):
    """Return the gap to the nearest crosswalk at which agent i must wait for somebody."""
    v, s, best = t.st[i, V], t.st[i, S], 1e9
    front = reaches(t, i)[1]
    for m in range(t.cross_first[t.of_path[i]], t.cross_first[t.of_path[i] + 1]):
        dist = t.cross[m, 0] - 1.0 - s - front
        if dist < -0.5 or dist > 45.0 or v * v / (2.0 * 4.5) > dist + 0.5:
            continue
        if walker_comes(t, i, m, path):
            best = min(best, dist)
    return best


@jit
def walker_comes(t, i, m, path):
    """Return whether somebody on the crosswalk is in, or will enter, the corridor of agent i in time."""
    s_a, s_b = t.cross[m, 0], t.cross[m, 1]
    rear, front = reaches(t, i)
    clear = (s_b - t.st[i, S] + rear) / max(t.st[i, V], 2.5)
    k = min(max(int(0.5 * (s_a + s_b)), 0), len(path) - 1)
    c, s = math.cos(path[k, PH]), math.sin(path[k, PH])
    half = 0.5 * t.par[i, WIDTH] + 0.9
    for p in range(len(t.ped)):
        if t.ped[p, 6] != t.cross[m, 2] or t.ped_state[p, 1] == 0.0:
            continue
        ux, uy = t.ped[p, 2] - t.ped[p, 0], t.ped[p, 3] - t.ped[p, 1]
        length = math.hypot(ux, uy)
        dx = t.ped[p, 0] + ux / length * t.ped_state[p, 0] - path[k, PX]
        dy = t.ped[p, 1] + uy / length * t.ped_state[p, 0] - path[k, PY]
        offset = dy * c - dx * s
        # Positive once past the middle of our lane, in walking direction.
        passed = offset if uy * c - ux * s > 0 else -offset
        if passed <= half and ((-passed - half) / t.ped[p, 4] < clear + 1.0 or s_a - t.st[i, S] - front < 3.0):
            return True
    return False


@jit
def walk(t, frame, dt):
    """Advance the pedestrians; who waits starts only when every vehicle near the crosswalk can stop."""
    for p in range(len(t.ped)):
        length = math.hypot(t.ped[p, 2] - t.ped[p, 0], t.ped[p, 3] - t.ped[p, 1])
        waits = t.ped_state[p, 1] == 0.0 and t.ped_state[p, 0] < 0.1
        if waits and frame * dt >= t.ped[p, 5] and may_walk(t, frame, p, int(length / t.ped[p, 4] / dt)):
            t.ped_state[p, 1] = 1.0
        if t.ped_state[p, 1] > 0.0:
            t.ped_state[p, 0] += t.ped[p, 4] * dt
            if t.ped_state[p, 0] >= length:
                t.ped_state[p, 0], t.ped_state[p, 1] = length, 0.0


@jit
def may_walk(t, frame, p, frames_needed):
    """Return whether pedestrian p may step on the road: vehicles have red for long enough, or all can stop."""
    group = int(t.ped[p, 7])
    if group >= 0:
        until = min(len(t.lights) - 1, frame + frames_needed)
        if t.lights[frame, group] != RED or t.lights[until, group] != RED:
            return False
    for i in range(len(t.st)):
        if t.st[i, ACTIVE] == 0.0 or t.par[i, PARKED] > 0.0:
            continue
        rear, front = reaches(t, i)
        v = t.st[i, V]
        for m in range(t.cross_first[t.of_path[i]], t.cross_first[t.of_path[i] + 1]):
            if t.cross[m, 2] != t.ped[p, 6] or t.st[i, S] - rear > t.cross[m, 1] + 1.0:
                continue
            dist = t.cross[m, 0] - 1.0 - t.st[i, S] - front
            if dist < v * v / 4.6 + 0.5 * v + 1.0 and not (v < 0.2 and dist > 0.0):
                return False
    return True
