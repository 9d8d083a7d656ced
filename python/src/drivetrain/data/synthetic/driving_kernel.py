"""The 20 Hz loop that drives every vehicle, cyclist and pedestrian of one synthetic world, compiled by Numba.

A agents (0 is the ego), P pedestrians, F frames, C connectors that need a rule, Q paths.

Every driver works in the frame of its own path (arc length s, offset d to the left), like PDM-style planners: it
weighs lateral offsets by the progress an intelligent-driver model would make behind what blocks each of them.
All compiled functions stay in this one file: the compiler's cache on disk does not notice changes elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import jit

DT = 0.05
SAMPLES = 40
# Columns of the agent parameters.
LENGTH, WIDTH, WHEELBASE, REAR, SPEED, HEADWAY, ACCEL, BRAKE, GAP, PARKED, STOP_AT, GO_AT, PASSABLE, HOME = range(14)
NUM_PARAMETERS = 14
# Columns of the agent state.
X, Y, H, V, A, STEER, S, D, D_REF, SLOPE, TARGET, ACTIVE, ACMD = range(13)
NUM_STATES = 13
# Columns of the path points, one per metre.
PX, PY, PH, PK, PV, LO, HI, HI_ONCOMING = range(8)
# Rules between two connectors: what the first does about the second.
FREE, YIELDS, LEADS, FIRST_COME, ZIPPER = range(5)


@jit
def _wrap(angle):
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


@jit
def _project(path, first, last, x, y):
    """Return s, d and the vertex nearest to a point, searching vertices first..last of one path."""
    best, at = 1e18, first
    for k in range(first, last + 1, 4):
        q = (path[k, PX] - x) ** 2 + (path[k, PY] - y) ** 2
        if q < best:
            best, at = q, k
    for k in range(max(first, at - 3), min(last, at + 3) + 1):
        q = (path[k, PX] - x) ** 2 + (path[k, PY] - y) ** 2
        if q < best:
            best, at = q, k
    c, s = math.cos(path[at, PH]), math.sin(path[at, PH])
    dx, dy = x - path[at, PX], y - path[at, PY]
    return at + dx * c + dy * s, dy * c - dx * s, at


@jit
def _at(path, s, column):
    k = min(max(int(s), 0), len(path) - 2)
    u = min(max(s - k, 0.0), 1.0)
    return path[k, column] * (1.0 - u) + path[k + 1, column] * u


@jit
def _idm(v, v0, gap, v_lead, headway, a, b, s0):
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
def _profile(path, s, d, slope, v, target, dx, width, front, lo, hi):
    """Fill the swept interval of a lateral move; return the distance at which it would leave its bounds."""
    bend = min(0.10, 1.2 / (v * v + 1e-6))
    blocked = 1e9
    for k in range(SAMPLES):
        ahead = d + front * slope
        lo[k], hi[k] = min(d, ahead) - 0.5 * width, max(d, ahead) + 0.5 * width
        x = k * dx
        if blocked > 1e8 and x > 1.0:
            j = min(int(s + x), len(path) - 1)
            i = min(int(s + x + front), len(path) - 1)
            half = 0.5 * width + 0.1
            if (
                d + half > path[j, HI_ONCOMING]
                or d - half < path[j, LO]
                or ahead + half > path[i, HI_ONCOMING]
                or ahead - half < path[i, LO]
            ):
                blocked = x
        for _ in range(3):
            slope, d = _shift(slope, d, target, bend, dx / 3.0)
    return blocked


@jit
def _shift(slope, d, target, bend, ds):
    """Advance the lateral reference by a distance ds: bounded slope and curvature, no overshoot."""
    miss = target - d
    want = min(0.3, math.sqrt(1.2 * bend * abs(miss)), 0.4 * abs(miss))
    want = want if miss > 0 else -want
    slope += min(max(want - slope, -bend * ds), bend * ds)
    return slope, d + slope * ds


@jit
def _weigh(i, target, par, st, path, frenet, dx, lo, hi, v0, stop_gap, lead):
    """Return the value of driving to a lateral offset; fills lead = (gap, speed, soft gap, soft speed, passable)."""
    s, d, v = st[i, S], st[i, D_REF], st[i, V]
    rear = 0.5 * par[i, LENGTH] - par[i, REAR]
    front = par[i, LENGTH] - rear
    width = par[i, WIDTH]
    blocked = _profile(path, s, d, st[i, SLOPE], v, target, dx, width, front, lo, hi)
    lead[0], lead[1], lead[2], lead[3], lead[4] = 1e9, 0.0, 1e9, 0.0, 0.0
    feasible = True
    moving_over = abs(target - d) > 0.4
    if blocked < 1e8 and abs(target - par[i, HOME]) > 0.2:
        lead[0] = max(blocked - 2.0, 0.5)
    reach = (SAMPLES - 1) * dx
    for j in range(len(st)):
        if j == i or frenet[j, 5] == 0.0:
            continue
        fs, fd, vs, hs, hd = frenet[j, 0], frenet[j, 1], frenet[j, 2], frenet[j, 3], frenet[j, 4]
        still = par[j, PARKED] > 0.0 or (par[j, PASSABLE] > 0.0 and st[j, V] < 0.3)
        margin = 0.45 if still else (0.7 if par[j, PASSABLE] > 0.0 else 0.4)
        jlo, jhi = fd - hd - margin, fd + hd + margin
        gap = fs - hs - s - front
        in_target = jlo < target + 0.5 * width and jhi > target - 0.5 * width
        in_now = jlo < d + 0.5 * width and jhi > d - 0.5 * width
        if fs + hs < s - rear:
            if moving_over and in_target and not in_now and vs > 0.5:
                closing = max(0.0, vs - v)
                if s - rear - fs - hs < 3.0 + 0.5 * vs + 2.4 * closing:
                    feasible = False
            continue
        if gap < 0.0 and moving_over and in_target and not in_now and not still:
            feasible = False
        if vs < -1.0 and not still:
            pace = max(v, 3.0)
            meet = max(gap, 0.0) * pace / (pace - vs)
            first, last = meet - 1.2 * pace - 3.0, meet + 2.0 * hs + rear + front + 1.2 * pace
        elif v > vs + 0.3:
            first = max(gap, 0.0) * v / (v - vs)
            last = first + (2.0 * hs + rear + front + 1.0) * v / (v - vs)
        else:
            first, last = reach, reach
        if first > reach:
            continue
        hard = False
        for k in range(max(0, int(first / dx)), min(SAMPLES - 1, int(last / dx) + 1) + 1):
            if jlo < hi[k] and jhi > lo[k]:
                hard = True
                break
        if vs < -1.0 and not still:
            if hard:
                if moving_over or abs(target - par[i, HOME]) > 0.6:
                    feasible = False
                elif in_now and gap < lead[0]:
                    lead[0], lead[1] = max(0.5 * gap, 0.3), 0.0
            continue
        if hard and gap < lead[0]:
            lead[0], lead[1] = max(gap, 0.1), max(vs, 0.0)
            lead[4] = 1.0 if (par[j, PARKED] > 0.0 or par[j, PASSABLE] > 0.0) else 0.0
        elif not hard and in_now and gap > -0.5 and gap < lead[2] and vs > -0.5:
            lead[2], lead[3] = max(gap, 0.1), max(vs, 0.0)
    # Progress of an intelligent driver behind that lead over six seconds.
    vv, gained, g = v, 0.0, lead[0]
    for _ in range(12):
        acc = _idm(vv, v0, g, lead[1], par[i, HEADWAY], par[i, ACCEL], par[i, BRAKE], par[i, GAP])
        if stop_gap < 1e8:
            acc = min(acc, _idm(vv, v0, stop_gap - gained, 0.0, 0.5, par[i, ACCEL], par[i, BRAKE], 1.0))
        step = max(0.0, vv + 0.25 * min(max(acc, -4.0), 3.0)) * 0.5
        vv = max(0.0, vv + 0.5 * min(max(acc, -4.0), 3.0))
        gained += step
        g += lead[1] * 0.5 - step
    value = gained - 0.9 * abs(target - par[i, HOME])
    if abs(target - st[i, TARGET]) > 0.2:
        value -= 1.5
    if target + 0.5 * width > _at(path, s + 10.0, HI):
        value -= 2.0
    return value if feasible else value - 1e4


@jit
def _see(i, par, st, paths, path_first, of_path, frenet, where):
    """Fill the frame of agent i's path for all others: s, d, speed along, half sizes along and across, flag."""
    q = of_path[i]
    path = paths[path_first[q] : path_first[q + 1]]
    first, last = max(0, where[i] - 25), min(len(path) - 1, where[i] + 120)
    for j in range(len(st)):
        frenet[j, 5] = 0.0
        if j == i or st[j, ACTIVE] == 0.0:
            continue
        c, s = math.cos(st[j, H]), math.sin(st[j, H])
        cx = st[j, X] + par[j, REAR] * c
        cy = st[j, Y] + par[j, REAR] * s
        if (cx - st[i, X]) ** 2 + (cy - st[i, Y]) ** 2 > 120.0**2:
            continue
        fs, fd, k = _project(path, first, last, cx, cy)
        if abs(fd) > 14.0:
            continue
        angle = st[j, H] - path[k, PH]
        ca, sa = abs(math.cos(angle)), abs(math.sin(angle))
        frenet[j, 0], frenet[j, 1] = fs, fd
        frenet[j, 2] = st[j, V] * math.cos(angle)
        frenet[j, 3] = 0.5 * (ca * par[j, LENGTH] + sa * par[j, WIDTH])
        frenet[j, 4] = 0.5 * (sa * par[j, LENGTH] + ca * par[j, WIDTH])
        frenet[j, 5] = 1.0


@jit
def _may_enter(
    i, c, row, s_in, s_out, par, st, frenet, passes, pass_first, of_path, granted, rule, zone, lights, frame
):
    """Return whether agent i may enter connector c: light, exit space, holders of conflicting connectors, priority."""
    rear = 0.5 * par[i, LENGTH] - par[i, REAR]
    front = par[i, LENGTH] - rear
    v = st[i, V]
    dist = s_in - st[i, S] - front
    light = lights[frame, row] if row >= 0 else 0
    if light >= 1 and not (light == 1 and v * v / (2.0 * 2.8) > dist - 0.7):
        return False
    for j in range(len(st)):
        if j == i or st[j, ACTIVE] == 0.0 or par[j, PARKED] > 0.0:
            continue
        if frenet[j, 5] > 0.0 and abs(frenet[j, 1]) < 1.6 and frenet[j, 0] > st[i, S]:
            exit_gap = frenet[j, 0] - frenet[j, 3] - s_out
            if -25.0 < exit_gap < par[i, LENGTH] + 1.0 and frenet[j, 2] < 1.5:
                return False
        jr = 0.5 * par[j, LENGTH] - par[j, REAR]
        jf = par[j, LENGTH] - jr
        for m in range(pass_first[of_path[j]], pass_first[of_path[j] + 1]):
            b = int(passes[m, 0])
            r = rule[c, b]
            if r == FREE or r == ZIPPER or st[j, S] - jr > passes[m, 1] + zone[b, c, 1] + 1.0:
                continue
            if granted[j, m - pass_first[of_path[j]]]:
                # Whoever holds it is let through, unless long gone when we arrive.
                away = passes[m, 1] + zone[b, c, 1] + jr + 1.5 - st[j, S]
                mine = max(dist, 0.0) + zone[c, b, 0] - 2.0
                if not (st[j, V] > 2.5 and mine > 0.0 and away / st[j, V] + 1.5 < mine / max(v, 2.0)):
                    return False
            elif r == YIELDS:
                to_go = passes[m, 1] + zone[b, c, 0] - st[j, S] - jf
                if passes[m, 1] - st[j, S] - jf > 75.0:
                    continue
                if passes[m, 4] >= 0 and lights[frame, int(passes[m, 4])] == 2:
                    continue
                arrive = to_go / max(st[j, V], 0.1)
                arrive = min(arrive, math.sqrt(2.0 * max(to_go, 0.0) / 1.5) + 0.5)
                need = max(dist, 0.0) + zone[c, b, 1] + rear + 1.0
                clear = (-v + math.sqrt(v * v + 2.0 * 1.3 * need)) / 1.3
                if arrive < clear + 1.2:
                    return False
    return True


@jit
def _walk_blocks(i, s_a, s_b, cw, par, st, path, ped, ped_state):
    """Return whether somebody on crosswalk cw is in, or will enter, the corridor of agent i in time."""
    rear = 0.5 * par[i, LENGTH] - par[i, REAR]
    front = par[i, LENGTH] - rear
    clear = (s_b - st[i, S] + rear) / max(st[i, V], 2.5)
    k = min(max(int(0.5 * (s_a + s_b)), 0), len(path) - 1)
    c, s = math.cos(path[k, PH]), math.sin(path[k, PH])
    for p in range(len(ped)):
        if int(ped[p, 6]) != cw or ped_state[p, 1] == 0.0:
            continue
        ux, uy = ped[p, 2] - ped[p, 0], ped[p, 3] - ped[p, 1]
        length = math.hypot(ux, uy)
        ux, uy = ux / length, uy / length
        dx = ped[p, 0] + ux * ped_state[p, 0] - path[k, PX]
        dy = ped[p, 1] + uy * ped_state[p, 0] - path[k, PY]
        offset = dy * c - dx * s
        way = 1.0 if uy * c - ux * s > 0 else -1.0
        half = 0.5 * par[i, WIDTH] + 0.9
        if offset * way > half:
            continue
        if (-offset * way - half) / ped[p, 4] < clear + 1.0 or s_a - st[i, S] - front < 3.0:
            return True
    return False


@jit
def _stop_ahead(
    i,
    frame,
    par,
    st,
    path,
    frenet,
    passes,
    pass_first,
    of_path,
    granted,
    rule,
    zone,
    lights,
    cross,
    cross_first,
    ped,
    ped_state,
):
    """Return the gap to the nearest stop (line, crosswalk) and a virtual zipper lead (gap, speed)."""
    rear = 0.5 * par[i, LENGTH] - par[i, REAR]
    front = par[i, LENGTH] - rear
    v, s = st[i, V], st[i, S]
    stop, zip_gap, zip_v = 1e9, 1e9, 0.0
    q = of_path[i]
    for m in range(pass_first[q], pass_first[q + 1]):
        c, s_in, s_out = int(passes[m, 0]), passes[m, 1], passes[m, 2]
        local = m - pass_first[q]
        if s - rear > s_out:
            granted[i, local] = False
            continue
        dist = s_in - passes[m, 3] - s - front
        if dist > max(25.0, v * v / 3.0 + 2.0 * v):
            break
        inside = dist < -0.3
        # Beyond the point of no return a grant is kept; before it the question is asked anew.
        if not inside and (not granted[i, local] or v * v / (2.0 * 2.2) < dist - 0.3):
            granted[i, local] = _may_enter(
                i, c, int(passes[m, 4]), s_in, s_out, par, st, frenet, passes, pass_first, of_path, granted,
                rule, zone, lights, frame,
            )  # fmt: skip
        if not granted[i, local] and not inside:
            stop = min(stop, dist)
            break
        if inside:
            granted[i, local] = True
    for m in range(pass_first[q], pass_first[q + 1]):
        c, s_out = int(passes[m, 0]), passes[m, 2]
        if s - rear > s_out or s_out - s > 90.0:
            continue
        for j in range(len(st)):
            if j == i or st[j, ACTIVE] == 0.0 or par[j, PARKED] > 0.0:
                continue
            for n in range(pass_first[of_path[j]], pass_first[of_path[j] + 1]):
                if rule[c, int(passes[n, 0])] != ZIPPER or st[j, S] > passes[n, 2] + 5.0:
                    continue
                jr = 0.5 * par[j, LENGTH] - par[j, REAR]
                ahead = (s_out - s) - (passes[n, 2] - st[j, S])
                if ahead > 0.0 or (ahead == 0.0 and j < i):
                    gap = ahead - front - jr
                    if gap < zip_gap:
                        zip_gap, zip_v = gap, st[j, V]
    for m in range(cross_first[q], cross_first[q + 1]):
        s_a, s_b = cross[m, 0], cross[m, 1]
        dist = s_a - 1.0 - s - front
        if dist < -0.5 or dist > 45.0 or v * v / (2.0 * 4.5) > dist + 0.5:
            continue
        if _walk_blocks(i, s_a, s_b, int(cross[m, 2]), par, st, path, ped, ped_state):
            stop = min(stop, dist)
    return stop, zip_gap, zip_v


@jit
def _choose(i, par, st, path, frenet, lo, hi, v0, stop_gap, lead, best_lead):
    """Choose the lateral offset of agent i; fills best_lead with what it follows there."""
    dx = max(1.0, 0.15 * st[i, V])
    home, now = par[i, HOME], st[i, TARGET]
    best = _weigh(i, now, par, st, path, frenet, dx, lo, hi, v0, stop_gap, best_lead)
    target = now
    if now == home and best_lead[0] > 12.0 + 5.0 * max(st[i, V] - best_lead[1], 0.0) + 1.5 * st[i, V]:
        return now
    borrow = best_lead[4] > 0.0 or now > _at(path, st[i, S], HI) - 0.5 * par[i, WIDTH]
    left = _at(path, st[i, S] + 3.0, HI_ONCOMING if borrow else HI)
    right = _at(path, st[i, S] + 3.0, LO)
    half = 0.5 * par[i, WIDTH] + 0.2
    count = int((left - right) / 0.5) + 2
    for n in range(-1, count):
        offset = home if n < 0 else (math.floor(right / 0.5) + n) * 0.5
        if n >= 0 and (offset + half > left or offset - half < right):
            continue
        if abs(offset - now) < 0.05:
            continue
        value = _weigh(i, offset, par, st, path, frenet, dx, lo, hi, v0, stop_gap, lead)
        if value > best:
            best, target = value, offset
            for k in range(5):
                best_lead[k] = lead[k]
    return target


@jit
def _decide(i, t, par, st, path, frenet, lo, hi, lead, best_lead, stop_gap, zip_gap, zip_v):
    """Set the lateral target and the commanded acceleration of agent i."""
    v = st[i, V]
    v0 = 1e9
    k = int(st[i, S])
    for ahead in range(0, int(max(10.0, v * v / 2.4 + v)) + 1, 2):
        j = min(k + ahead, len(path) - 1)
        v0 = min(v0, math.sqrt((path[j, PV] * par[i, SPEED]) ** 2 + 2.0 * 1.3 * max(0.0, ahead - 1.0)))
    if par[i, STOP_AT] <= t < par[i, GO_AT]:
        v0 = 0.1
    st[i, TARGET] = _choose(i, par, st, path, frenet, lo, hi, v0, stop_gap, lead, best_lead)
    a, b, headway = par[i, ACCEL], par[i, BRAKE], par[i, HEADWAY]
    room = par[i, GAP] + (4.5 if best_lead[4] > 0.0 and best_lead[1] < 0.5 else 0.0)
    acc = _idm(v, v0, best_lead[0], best_lead[1], headway, a, b, room)
    acc = min(acc, _idm(v, v0, best_lead[2], best_lead[3], 0.5, a, b, 1.0))
    if zip_gap < 1e8:
        acc = min(acc, max(-2.0, _idm(v, v0, max(zip_gap, 0.5), zip_v, headway, a, b, par[i, GAP])))
    if stop_gap < 1e8:
        acc = min(acc, _idm(v, v0, stop_gap, 0.0, 0.4, a, b, 0.8))
    acc = min(max(acc, -6.0), 2.0)
    rise = 0.2 if acc > -3.5 else 1.0
    acc = min(max(acc, st[i, ACMD] - max(rise, 0.12 * abs(acc))), st[i, ACMD] + 0.2)
    if v < 0.05 and acc < 0.0:
        acc = 0.0
    st[i, ACMD] = acc


@jit
def _move(i, par, st, path, where):
    """Advance one vehicle by a frame: rear-axle bicycle with actuator lags, steering along its path."""
    v, wheelbase = st[i, V], par[i, WHEELBASE]
    bend = min(0.10, 1.2 / (v * v + 1e-6))
    old = st[i, SLOPE]
    st[i, SLOPE], st[i, D_REF] = _shift(old, st[i, D_REF], st[i, TARGET], bend, v * DT)
    k_ref = _at(path, st[i, S] + 0.15 * v, PK)
    k_ref = k_ref / (1.0 - st[i, D_REF] * k_ref)
    if v > 0.1:
        k_ref += (st[i, SLOPE] - old) / (v * DT)
    heading = _at(path, st[i, S], PH) + math.atan(st[i, SLOPE])
    gain = min(0.5, 3.0 / (v + 0.1))
    k_cmd = k_ref - gain * _wrap(st[i, H] - heading) - 0.25 * gain * gain * (st[i, D] - st[i, D_REF])
    limit = min(0.19, 3.6 / (v * v + 1e-6))
    wanted = math.atan(wheelbase * min(max(k_cmd, -limit), limit))
    wanted = min(max(wanted, st[i, STEER] - 0.05), st[i, STEER] + 0.05)
    if v < 0.05:
        wanted = st[i, STEER]
    st[i, A] += DT / (DT + 0.2) * (st[i, ACMD] - st[i, A])
    st[i, X] += v * math.cos(st[i, H]) * DT
    st[i, Y] += v * math.sin(st[i, H]) * DT
    st[i, H] += v * math.tan(st[i, STEER]) / wheelbase * DT
    st[i, STEER] += DT / (DT + 0.05) * (wanted - st[i, STEER])
    st[i, V] = max(0.0, v + DT * st[i, A])
    first, last = max(0, where[i] - 3), min(len(path) - 1, where[i] + 4)
    st[i, S], st[i, D], where[i] = _project(path, first, last, st[i, X], st[i, Y])
    if st[i, S] > len(path) - 8.0:
        st[i, ACTIVE] = 0.0


@jit
def _walk(frame, par, st, of_path, cross, cross_first, ped, ped_state, lights):
    """Advance the pedestrians; who waits starts only when every vehicle near the crosswalk can stop."""
    for p in range(len(ped)):
        length = math.hypot(ped[p, 2] - ped[p, 0], ped[p, 3] - ped[p, 1])
        if ped_state[p, 1] == 0.0 and ped_state[p, 0] < 0.1 and frame * DT >= ped[p, 5]:
            safe = True
            row = int(ped[p, 7])
            if row >= 0:
                until = min(len(lights) - 1, frame + int(length / ped[p, 4] / DT))
                safe = lights[frame, row] == 2 and lights[until, row] == 2
            for i in range(len(st)):
                if st[i, ACTIVE] == 0.0 or par[i, PARKED] > 0.0 or not safe:
                    continue
                rear = 0.5 * par[i, LENGTH] - par[i, REAR]
                for m in range(cross_first[of_path[i]], cross_first[of_path[i] + 1]):
                    dist = cross[m, 0] - 1.0 - st[i, S] - par[i, LENGTH] + rear
                    if int(cross[m, 2]) != int(ped[p, 6]) or st[i, S] - rear > cross[m, 1] + 1.0:
                        continue
                    if dist < st[i, V] ** 2 / 4.0 + 0.6 * st[i, V] + 1.0 and not (st[i, V] < 0.2 and dist > 0.0):
                        safe = False
            if safe:
                ped_state[p, 1] = 1.0
        if ped_state[p, 1] > 0.0:
            ped_state[p, 0] += ped[p, 4] * DT
            if ped_state[p, 0] >= length:
                ped_state[p, 0], ped_state[p, 1] = length, 0.0


@jit
def drive(frames, par, st, of_path, paths, path_first, passes, pass_first, rule, zone, lights, cross, cross_first, ped):
    """Simulate a world; returns agent states [F, A, 13] and pedestrian states [F, P, 2] (distance walked, walking)."""
    agents = len(st)
    out = np.zeros((frames, agents, NUM_STATES))
    walked = np.zeros((frames, len(ped), 2))
    ped_state = np.zeros((len(ped), 2))
    granted = np.zeros((agents, 16), dtype=np.bool_)
    frenet = np.zeros((agents, 6))
    lo, hi = np.zeros(SAMPLES), np.zeros(SAMPLES)
    lead, best_lead = np.zeros(5), np.zeros(5)
    where = np.zeros(agents, dtype=np.int64)
    for i in range(agents):
        where[i] = int(st[i, S])
    for frame in range(frames):
        if frame % 2 == 0:
            for i in range(agents):
                if st[i, ACTIVE] == 0.0 or par[i, PARKED] > 0.0:
                    continue
                path = paths[path_first[of_path[i]] : path_first[of_path[i] + 1]]
                _see(i, par, st, paths, path_first, of_path, frenet, where)
                stop, zip_gap, zip_v = _stop_ahead(
                    i, frame, par, st, path, frenet, passes, pass_first, of_path, granted, rule, zone, lights,
                    cross, cross_first, ped, ped_state,
                )  # fmt: skip
                _decide(i, frame * DT, par, st, path, frenet, lo, hi, lead, best_lead, stop, zip_gap, zip_v)
        out[frame] = st
        walked[frame] = ped_state
        for i in range(agents):
            if st[i, ACTIVE] > 0.0 and par[i, PARKED] == 0.0:
                _move(i, par, st, paths[path_first[of_path[i]] : path_first[of_path[i] + 1]], where)
        _walk(frame, par, st, of_path, cross, cross_first, ped, ped_state, lights)
    return out, walked


@jit
def first_overlap(boxes, ignore_from):
    """Return (frame, i, j) of the first overlap of two oriented boxes, or (-1, -1, -1).

    boxes: [F, N, 6] centre x, y, heading, half length, half width, valid; pairs with both indices at or above
    ``ignore_from`` (pedestrians among themselves) are not tested.
    """
    for f in range(len(boxes)):
        for i in range(boxes.shape[1]):
            if boxes[f, i, 5] == 0.0 or i >= ignore_from:
                continue
            for j in range(i + 1, boxes.shape[1]):
                if boxes[f, j, 5] == 0.0:
                    continue
                dx, dy = boxes[f, j, 0] - boxes[f, i, 0], boxes[f, j, 1] - boxes[f, i, 1]
                if dx * dx + dy * dy > 170.0:
                    continue
                c, s = math.cos(boxes[f, i, 2]), math.sin(boxes[f, i, 2])
                e, g = math.cos(boxes[f, j, 2]), math.sin(boxes[f, j, 2])
                q, p = abs(c * e + s * g), abs(s * e - c * g)
                l1, w1, l2, w2 = boxes[f, i, 3], boxes[f, i, 4], boxes[f, j, 3], boxes[f, j, 4]
                if (
                    abs(dx * c + dy * s) <= l1 + l2 * q + w2 * p
                    and abs(dy * c - dx * s) <= w1 + l2 * p + w2 * q
                    and abs(dx * e + dy * g) <= l2 + l1 * q + w1 * p
                    and abs(dy * e - dx * g) <= w2 + l1 * p + w1 * q
                ):
                    return f, i, j
    return -1, -1, -1
