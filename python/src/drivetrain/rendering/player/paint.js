// Everything that is drawn: one call paints one panel at one time.
const TYPE_COLORS = ["vehicle", "pedestrian", "cyclist", "object", "object", "object", "object", "vehicle"];
const LEAST_DRAWN = 1.4; // metres; nobody would see a smaller pedestrian
const AHEAD_S = 2.0; // how far considered actions are drawn
let colors = themes.light;
const scratch = { x: 0, y: 0, h: 0 };

function box(ctx, pose, length, width) {
  const c = Math.cos(pose.h), s = Math.sin(pose.h), l = length / 2, w = width / 2;
  ctx.beginPath();
  ctx.moveTo(pose.x + c * l - s * w, pose.y + s * l + c * w);
  ctx.lineTo(pose.x - c * l - s * w, pose.y - s * l + c * w);
  ctx.lineTo(pose.x - c * l + s * w, pose.y - s * l - c * w);
  ctx.lineTo(pose.x + c * l + s * w, pose.y + s * l - c * w);
  ctx.closePath();
}

function nose(ctx, pose, length, width) {
  const c = Math.cos(pose.h), s = Math.sin(pose.h);
  const at = (u, v) => [pose.x + (c * u * length) / 2 - (s * v * width) / 2, pose.y + (s * u * length) / 2 + (c * v * width) / 2];
  ctx.beginPath();
  ctx.moveTo(...at(0.9, 0));
  ctx.lineTo(...at(0.3, 0.75));
  ctx.lineTo(...at(0.3, -0.75));
  ctx.closePath();
}

function trackLine(ctx, track, first, last) {
  ctx.beginPath();
  for (let i = first; i <= last; i++) ctx.lineTo(track.x[i], track.y[i]);
}

function paintRoad(ctx, px) {
  const road = scene.road;
  ctx.fillStyle = colors.road;
  if (road.known) ctx.fill(road.area, "evenodd");
  // Neighbouring pieces share their borders: a hairline hides the seam.
  ctx.lineJoin = "round";
  if (road.known) {
    ctx.strokeStyle = colors.road;
    ctx.lineWidth = 1.2 * px;
    ctx.stroke(road.area);
  }
  ctx.fillStyle = colors.crosswalk;
  ctx.fill(road.crosswalks, "evenodd");
  ctx.strokeStyle = colors.route;
  ctx.lineWidth = 2.6;
  ctx.lineCap = "round";
  trackLine(ctx, scene.log, 0, scene.log.x.length - 1);
  ctx.stroke();
  ctx.lineCap = "butt";
  ctx.strokeStyle = colors.lane;
  ctx.lineWidth = Math.max(0.12, px);
  ctx.setLineDash([2, 1.6]);
  ctx.stroke(road.lanes);
  ctx.setLineDash([]);
  ctx.strokeStyle = colors.edge;
  ctx.lineWidth = Math.max(0.18, 1.2 * px);
  ctx.stroke(road.edges);
}

function paintGoal(ctx, px) {
  const last = scene.log.x.length - 1, x = scene.log.x[last], y = scene.log.y[last];
  ctx.strokeStyle = ctx.fillStyle = colors.ego;
  ctx.lineWidth = Math.max(0.3, 1.6 * px);
  ctx.beginPath();
  ctx.arc(x, y, Math.max(1.3, 6 * px), 0, 7);
  ctx.stroke();
  ctx.beginPath();
  ctx.arc(x, y, Math.max(0.45, 2 * px), 0, 7);
  ctx.fill();
}

// The more a light forbids, the thicker its bar: colour is not the only sign.
const LIGHT_KINDS = [["green", 0.35], ["yellow", 0.6], ["red", 0.9], ["unlit", 0.25]];

function paintLights(ctx, frame, px) {
  for (const light of scene.lights) {
    const [name, width] = LIGHT_KINDS[light.states[Math.min(frame, light.states.length - 1)]] ?? LIGHT_KINDS[3];
    ctx.strokeStyle = colors[name];
    ctx.lineWidth = Math.max(width, 3 * width * px);
    ctx.beginPath();
    ctx.moveTo(light.bar[0], light.bar[1]);
    ctx.lineTo(light.bar[2], light.bar[3]);
    ctx.stroke();
  }
}

function paintAgents(ctx, panel, time, px, dimmed) {
  ctx.lineWidth = Math.max(0.06, 0.8 * px);
  ctx.strokeStyle = colors.outline;
  ctx.globalAlpha = dimmed ? 0.3 : 1;
  for (const agent of panel.agents) {
    const pose = agentPose(agent, Math.min(time, panel.frames - 1), scratch);
    if (!pose) continue;
    box(ctx, pose, Math.max(agent.length, LEAST_DRAWN), Math.max(agent.width, agent.type === 1 ? LEAST_DRAWN : 0.5));
    ctx.fillStyle = colors[agent.parked ? "parked" : TYPE_COLORS[agent.type]];
    ctx.fill();
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

// What the policy was given, where it was told that it is: in the frame of the ego at the moment it looked.
function paintSeen(ctx, panel, frame, px) {
  const insight = panel.insight, at = Math.min(frame, insight.action.length - 1), ego = panel.ego;
  const c = Math.cos(ego.h[at]), s = Math.sin(ego.h[at]);
  const place = (x, y) => [ego.x[at] + (c * x - s * y) / 10, ego.y[at] + (s * x + c * y) / 10];
  const road = insight.road[at];
  for (const edge of [0, 1]) {
    ctx.strokeStyle = colors[edge ? "seenEdge" : "seen"];
    ctx.lineWidth = Math.max(edge ? 0.35 : 0.22, (edge ? 2.4 : 1.6) * px);
    ctx.beginPath();
    for (let i = 0; i < road.length; i += 5) {
      if (road[i + 4] !== edge) continue;
      const half = road[i + 3], u = Math.cos(road[i + 2] / 100) * half, v = Math.sin(road[i + 2] / 100) * half;
      ctx.moveTo(...place(road[i] - u, road[i + 1] - v));
      ctx.lineTo(...place(road[i] + u, road[i + 1] + v));
    }
    ctx.stroke();
  }
  ctx.fillStyle = colors.ego;
  const route = insight.route[at];
  for (let i = 0; i < route.length; i += 2) {
    ctx.beginPath();
    ctx.arc(...place(route[i], route[i + 1]), Math.max(0.35, 2 * px), 0, 7);
    ctx.fill();
  }
  const agents = insight.agents[at];
  ctx.lineWidth = Math.max(0.25, 2.2 * px);
  ctx.strokeStyle = colors.seen;
  ctx.fillStyle = colors.seenFill;
  for (let i = 0; i < agents.length; i += 5) {
    [scratch.x, scratch.y] = place(agents[i], agents[i + 1]);
    scratch.h = ego.h[at] + agents[i + 2] / 100;
    box(ctx, scratch, Math.max(agents[i + 3] / 10, LEAST_DRAWN), Math.max(agents[i + 4] / 10, 0.8));
    ctx.fill();
    ctx.stroke();
  }
}

// Where an action held for two seconds leads, by the vehicle model without its lags.
function actionPath(ctx, panel, at, acceleration, steering) {
  const ego = panel.ego;
  let x = ego.x[at], y = ego.y[at], h = ego.h[at], v = ego.v[at];
  ctx.beginPath();
  ctx.moveTo(x, y);
  for (let t = 0; t < AHEAD_S; t += 0.1) {
    const limit = Math.min(0.2, 4 / Math.max(v, 0.1) ** 2);
    x += 0.1 * v * Math.cos(h);
    y += 0.1 * v * Math.sin(h);
    h += 0.1 * v * limit * steering;
    v = Math.max(0, v + 0.4 * acceleration);
    ctx.lineTo(x, y);
  }
  return [x, y];
}

function riskColor(risk, epsilon) {
  const share = Math.min(1, risk / Math.max(epsilon ?? 250, 1));
  return colors.risk[Math.min(colors.risk.length - 1, Math.floor(share * colors.risk.length))];
}

function paintConsidered(ctx, panel, frame, px) {
  const insight = panel.insight, at = Math.min(frame, insight.action.length - 1);
  if (insight.category) {
    const most = Math.max(...insight.probability[at], 1);
    for (let k = insight.category[at].length - 1; k >= 0; k--) {
      const [acceleration, steering] = insight.grid[insight.category[at][k]];
      const allowed = insight.allowed[at][k] === "1";
      ctx.strokeStyle = ctx.fillStyle = insight.risk ? riskColor(insight.risk[at][k], insight.epsilon) : colors.choice;
      ctx.globalAlpha = allowed ? 0.35 + (0.65 * insight.probability[at][k]) / most : 0.9;
      ctx.lineWidth = Math.max(0.16, 1.5 * px);
      ctx.setLineDash(allowed ? [] : [0.7, 0.7]);
      const end = actionPath(ctx, panel, at, acceleration / 1000, steering / 1000);
      ctx.stroke();
      ctx.setLineDash([]);
      const r = Math.max(0.32, 2.6 * px);
      if (allowed) {
        ctx.beginPath();
        ctx.arc(...end, r, 0, 7);
        ctx.fill();
      } else { // a cross: forbidden, whatever its colour
        ctx.lineWidth = Math.max(0.2, 1.8 * px);
        ctx.beginPath();
        ctx.moveTo(end[0] - r, end[1] - r);
        ctx.lineTo(end[0] + r, end[1] + r);
        ctx.moveTo(end[0] - r, end[1] + r);
        ctx.lineTo(end[0] + r, end[1] - r);
        ctx.stroke();
      }
    }
    ctx.globalAlpha = 1;
  }
  const [acceleration, steering] = insight.action[at];
  ctx.lineCap = "round";
  for (const [color, width] of [[colors.halo, 5.5], [colors.ink, 2.8]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = Math.max(width / 9, width * px);
    actionPath(ctx, panel, at, acceleration / 1000, steering / 1000);
    ctx.stroke();
  }
  ctx.lineCap = "butt";
}

function paintTrail(ctx, panel, frame, px) {
  ctx.strokeStyle = ctx.fillStyle = colors.ego;
  ctx.lineWidth = Math.max(0.2, 1.4 * px);
  trackLine(ctx, panel.ego, 0, frame);
  ctx.stroke();
  for (let i = 0; i <= frame; i += Math.max(1, Math.round(1 / dt))) {
    ctx.beginPath();
    ctx.arc(panel.ego.x[i], panel.ego.y[i], Math.max(0.4, 2.3 * px), 0, 7);
    ctx.fill();
  }
}

function paintEgo(ctx, panel, time, px, shows) {
  const pose = poseAt(panel.ego, Math.min(time, panel.frames - 1), scratch);
  ctx.fillStyle = colors.ego;
  ctx.strokeStyle = colors.outline;
  ctx.lineWidth = Math.max(0.1, 1.2 * px);
  box(ctx, pose, panel.length, panel.width);
  ctx.fill();
  ctx.stroke();
  ctx.fillStyle = colors.onEgo;
  nose(ctx, pose, panel.length, panel.width);
  ctx.fill();
  if (!shows.log || panel.dynamics === "log") return;
  poseAt(scene.log, Math.min(time, scene.log.x.length - 1), scratch);
  ctx.strokeStyle = colors.ink;
  ctx.setLineDash([0.8, 0.5]);
  ctx.lineWidth = Math.max(0.14, 1.5 * px);
  box(ctx, scratch, panel.length, panel.width);
  ctx.stroke();
  ctx.setLineDash([]);
}

function paintEvents(ctx, panel, frame, px) {
  for (const event of panel.events) {
    if (event.frame > frame || !scene.failures.includes(event.kind)) continue;
    const at = event.frame;
    ctx.strokeStyle = colors.event;
    ctx.lineWidth = Math.max(0.3, 3 * px);
    ctx.beginPath();
    ctx.arc(panel.ego.x[at], panel.ego.y[at], Math.max(3.4, 16 * px), 0, 7);
    ctx.stroke();
    if (!event.at) continue;
    ctx.lineWidth = Math.max(0.25, 2.4 * px);
    const r = Math.max(0.9, 5 * px), x = event.at[0] / 100, y = event.at[1] / 100;
    ctx.beginPath();
    ctx.moveTo(x - r, y - r);
    ctx.lineTo(x + r, y + r);
    ctx.moveTo(x - r, y + r);
    ctx.lineTo(x + r, y - r);
    ctx.stroke();
  }
}

// Paints a panel: view has the centre [m], pixels per metre and the size in device pixels.
function paintPanel(ctx, panel, time, view, shows) {
  const frame = Math.min(Math.floor(time + 1e-6), panel.frames - 1), px = view.ratio / view.scale;
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.fillStyle = scene.road.known ? colors.ground : colors.road;
  ctx.fillRect(0, 0, view.width, view.height);
  const turn = Math.PI / 2 - scene.up, c = Math.cos(turn) * view.scale, s = Math.sin(turn) * view.scale;
  const x = view.width / 2 - (c * view.x - s * view.y), y = view.height / 2 + (s * view.x + c * view.y);
  ctx.setTransform(c, -s, -s, -c, x, y);
  paintRoad(ctx, px);
  paintGoal(ctx, px);
  const sees = shows.seen && panel.insight;
  if (shows.trail) paintTrail(ctx, panel, frame, px);
  paintLights(ctx, frame, px);
  if (sees) paintSeen(ctx, panel, frame, px);
  paintAgents(ctx, panel, time, px, sees);
  if (shows.considered && panel.insight) paintConsidered(ctx, panel, frame, px);
  paintEgo(ctx, panel, time, px, shows);
  paintEvents(ctx, panel, frame, px);
  paintScaleBar(ctx, view);
}

function paintScaleBar(ctx, view) {
  ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  const perMetre = view.scale / view.ratio;
  const metres = [1, 2, 5, 10, 20, 50, 100, 200].find((length) => length * perMetre > 60) ?? 500;
  const y = view.height / view.ratio - 12;
  ctx.strokeStyle = ctx.fillStyle = colors.ink;
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.moveTo(12, y);
  ctx.lineTo(12 + metres * perMetre, y);
  ctx.stroke();
  ctx.font = "11px system-ui, sans-serif";
  ctx.fillText(`${metres} m`, 14, y - 5);
}
