"""Compiled reading of a log's packed arrays (``log_packing``) into the dense arrays of a window.

F frames of the window, A tracks of the log, K lights of the log.
"""

from __future__ import annotations

import numpy as np

from drivetrain.data.fixed_point import FINEST_EXPONENT, HEADING_STEP, POSITION_STEP
from drivetrain.data.log_packing import BLOCK, WIDEST_SHIFT
from drivetrain.sim.kernel_cache import kernel

DAMAGED = -1


@kernel
def place_tracks(row_of, first, block, track, form, num_boxes, column):
    """Number the tracks seen in a window, in the log's order; return how many, or DAMAGED if a table makes no sense.

    Args:
        row_of: Row of the window that shows frame ``first + i`` of the log, or -1, shape [last - first + 1].
        first: First frame of the window.
        block: See ``log_packing``, as the next ones.
        track: ``segment.track``.
        form: ``segment.form``.
        num_boxes: Stored boxes.
        column: Written: column of each track, or -1, shape [A].
    """
    column[:] = -1
    last = first + len(row_of) - 1
    for b in range(first // BLOCK, last // BLOCK + 1):
        if block[b + 1, 0] > len(track) or block[b + 1, 1] > num_boxes:
            return DAMAGED
        box = np.int64(block[b, 1])
        for s in range(np.int64(block[b, 0]), np.int64(block[b + 1, 0])):
            begin, frames, boxes = np.int64(form[s, 0]), np.int64(form[s, 1]), np.int64(form[s, 2])
            box += boxes
            odd = frames < 1 or (boxes != frames and boxes != 1) or form[s, 3] > WIDEST_SHIFT
            if odd or begin + frames > BLOCK or track[s] >= len(column):
                return DAMAGED
            if column[track[s]] >= 0:
                continue
            begin += b * BLOCK
            for frame in range(max(begin, first), min(begin + frames, last + 1)):
                if row_of[frame - first] >= 0:
                    column[track[s]] = 0
                    break
        if box != block[b + 1, 1]:
            return DAMAGED
    count = 0
    for a in range(len(column)):
        if column[a] >= 0:
            column[a] = count
            count += 1
    return count


@kernel
def fill_tracks(
    row_of, first, origin, block, track, form, anchor, boxes, column, position, heading, velocity, valid
):  # fmt: skip
    """Write the boxes of a window into dense arrays that hold zeros; arguments as above and in ``AgentTracks``."""
    last = first + len(row_of) - 1
    for b in range(first // BLOCK, last // BLOCK + 1):
        after = np.int64(block[b, 1])
        for s in range(np.int64(block[b, 0]), np.int64(block[b + 1, 0])):
            box = after
            after += np.int64(form[s, 2])
            a = column[track[s]]
            if a < 0:
                continue
            begin, frames = b * BLOCK + np.int64(form[s, 0]), np.int64(form[s, 1])
            step = 1 if np.int64(form[s, 2]) == frames else 0
            shift, unit = np.int64(form[s, 3]), 2.0 ** (np.float64(form[s, 4]) + FINEST_EXPONENT)
            anchor_x, anchor_y = np.int64(anchor[s, 0]), np.int64(anchor[s, 1])
            for frame in range(max(begin, first), min(begin + frames, last + 1)):
                row = row_of[frame - first]
                if row < 0:
                    continue
                k = box + (frame - begin) * step
                position[row, a, 0] = origin[0] + (anchor_x + (np.int64(boxes[k, 0]) << shift)) * POSITION_STEP
                position[row, a, 1] = origin[1] + (anchor_y + (np.int64(boxes[k, 1]) << shift)) * POSITION_STEP
                heading[row, a] = boxes[k, 2] * HEADING_STEP
                velocity[row, a, 0] = boxes[k, 3] * unit
                velocity[row, a, 1] = boxes[k, 4] * unit
                valid[row, a] = True


@kernel
def fill_ego(frames, origin, position, heading, motion, exponent, pose, velocity, acceleration, yaw_rate):
    """Write the ego over the frames of a window."""
    block = -1
    x, y, ahead, aside, turn = 1.0, 1.0, 1.0, 1.0, 1.0
    for i in range(len(frames)):
        f = frames[i]
        if f // BLOCK != block:
            block = f // BLOCK
            x, y = 2.0 ** np.float64(exponent[block, 0]), 2.0 ** np.float64(exponent[block, 1])
            ahead, aside = 2.0 ** np.float64(exponent[block, 2]), 2.0 ** np.float64(exponent[block, 3])
            turn = 2.0 ** np.float64(exponent[block, 4])
        pose[i, 0] = origin[0] + position[f, 0] * POSITION_STEP
        pose[i, 1] = origin[1] + position[f, 1] * POSITION_STEP
        pose[i, 2] = heading[f]
        velocity[i, 0], velocity[i, 1] = motion[f, 0] * x, motion[f, 1] * y
        acceleration[i, 0], acceleration[i, 1] = motion[f, 2] * ahead, motion[f, 3] * aside
        yaw_rate[i] = motion[f, 4] * turn


@kernel
def known_lights(frames, event, frame, state, unknown, known):
    """Mark the lights whose state is known at a frame of the window; False if a table makes no sense."""
    for k in range(len(known)):
        known[k] = False
        if event[k + 1] > len(frame) or event[k] >= event[k + 1] or frame[event[k]] != 0:
            return False
        i = 0
        for e in range(event[k], event[k + 1]):
            if state[e] == unknown:
                continue
            while i < len(frames) and frames[i] < frame[e]:
                i += 1
            if i == len(frames):
                break
            if e + 1 == event[k + 1] or frames[i] < frame[e + 1]:
                known[k] = True
                break
    return True


@kernel
def fill_lights(frames, lights, event, frame, state, out):
    """Write the states of some lights over the frames of a window, shape [F, lights]."""
    for c in range(len(lights)):
        e, end = np.int64(event[lights[c]]), np.int64(event[lights[c] + 1])
        for i in range(len(frames)):
            while e + 1 < end and frame[e + 1] <= frames[i]:
                e += 1
            out[i, c] = state[e]
