// The document unpacked: columns of differences become arrays in metres, radians and seconds.
const packed = JSON.parse(document.getElementById("scene").textContent);
const dt = packed.dt;

function sums(steps, scale) {
  const out = new Float64Array(steps.length);
  for (let i = 0, total = 0; i < steps.length; i++) out[i] = (total += steps[i]) * scale;
  return out;
}

function unpackTrack(track) {
  return { x: sums(track.x, 0.01), y: sums(track.y, 0.01), h: sums(track.h, 0.001) };
}

function linePath(lines, closed) {
  const path = new Path2D();
  for (const line of lines) {
    let x = 0, y = 0;
    for (let i = 0; i < line.length; i += 2) {
      x += line[i];
      y += line[i + 1];
      if (i) path.lineTo(x * 0.01, y * 0.01);
      else path.moveTo(x * 0.01, y * 0.01);
    }
    if (closed) path.closePath();
  }
  return path;
}

function unpackAgent(agent) {
  const track = unpackTrack(agent), stands = track.x.length === 1;
  const runs = [];
  for (let i = 0, at = 0; i < agent.on.length; i += 2) {
    runs.push({ first: agent.on[i], end: agent.on[i + 1], at });
    at += agent.on[i + 1] - agent.on[i];
  }
  return { ...track, stands, runs, type: agent.type, parked: agent.parked === 1, length: agent.size[0] / 100, width: agent.size[1] / 100 };
}

function unpackLight(light) {
  const states = [];
  for (let i = 0; i < light.runs.length; i += 2)
    for (let n = 0; n < light.runs[i + 1]; n++) states.push(light.runs[i]);
  return { bar: light.bar.map((value) => value / 100), states };
}

function unpackPanel(panel) {
  const ego = unpackTrack(panel.ego);
  return {
    ...panel,
    ego: { ...ego, v: sums(panel.ego.v, 0.01), done: sums(panel.ego.done, 0.001) },
    frames: ego.x.length,
    length: panel.size[0] / 100,
    width: panel.size[1] / 100,
    agents: panel.agents.map(unpackAgent),
    score: panel.metrics[panel.scoreName] ?? null,
  };
}

const scene = {
  ...packed,
  up: packed.up / 1000,
  log: unpackTrack(packed.log),
  road: {
    known: packed.road.known,
    area: linePath(packed.road.area.flat(), true),
    crosswalks: linePath(packed.road.crosswalks.flat(), true),
    lanes: linePath(packed.road.lanes, false),
    edges: linePath(packed.road.edges, false),
  },
  lights: packed.lights.map(unpackLight),
  panels: packed.panels.map(unpackPanel),
};
scene.frames = Math.max(...scene.panels.map((panel) => panel.frames));

// The pose at a time between frames; null where there is none.
function poseAt(track, time, out) {
  const low = Math.min(Math.floor(time), track.x.length - 1), high = Math.min(low + 1, track.x.length - 1), part = time - low;
  const share = high > low ? part : 0;
  out.x = track.x[low] + share * (track.x[high] - track.x[low]);
  out.y = track.y[low] + share * (track.y[high] - track.y[low]);
  out.h = track.h[low] + share * (track.h[high] - track.h[low]);
  return out;
}

function agentPose(agent, time, out) {
  const frame = Math.floor(time);
  for (const run of agent.runs) {
    if (frame < run.first || frame >= run.end) continue;
    if (agent.stands) return poseAt(agent, 0, out);
    // Between the last frame of a run and the next one it stays where it was seen last.
    return poseAt(agent, run.at + Math.min(time - run.first, run.end - run.first - 1), out);
  }
  return null;
}
