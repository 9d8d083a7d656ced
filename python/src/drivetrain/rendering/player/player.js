// Clock, camera, controls.
const el = (id) => document.getElementById(id);
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const HEADING = 52; // pixels at the top of a panel that its heading covers
const SMALL = 3.5; // pixels per metre below which the ego is better followed
const CLOSE = 7; // pixels per metre, at least, where the ego is followed
const BEFORE_S = 1.0; // an event is jumped to so long before it happens
const last = scene.frames - 1;
const shows = { follow: false, seen: false, considered: false, log: true, trail: true };
const camera = { x: 0, y: 0, scale: 4 };
let time = 0, playing = false, speed = 1, before = 0, dirty = true, dark = false;

const TOGGLES = [
  ["follow", "Follow", "F", "keep the ego in the middle", true],
  ["seen", "Saw", "S", "what the policy saw: agents, lanes, edges, route", scene.panels.some((p) => p.insight)],
  ["considered", "Considered", "C", "actions the policy considered, and what it did", scene.panels.some((p) => p.insight)],
  ["log", "Log", "L", "the logged drive as a dashed box", scene.panels.some((p) => p.dynamics !== "log")],
  ["trail", "Trail", "T", "where the ego drove, one dot a second", true],
];

function make(tag, parent, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  parent.append(node);
  return node;
}

// --- panels ---------------------------------------------------------------------------------------------------------

function makePanel(panel) {
  const root = make("section", el("panels"), { className: "panel" });
  const canvas = make("canvas", root);
  const who = make("div", root, { className: "who" });
  make("b", who, { textContent: panel.label });
  const view = {
    panel, canvas, root, ctx: canvas.getContext("2d", { alpha: false }),
    status: make("span", who),
    badge: make("div", root, { className: "badge", hidden: true }),
    considered: make("div", root, { className: "considered", hidden: true }),
    verdict: make("div", root, { className: "verdict", hidden: true }),
    width: 0, height: 0, ratio: 1, x: 0, y: 0, scale: 1,
  };
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Bird's-eye view of the drive by ${panel.label}`);
  fillVerdict(view.verdict, panel);
  listen(view);
  new ResizeObserver(() => measure(view)).observe(root);
  return view;
}

function words(name) {
  return name.replace(/_rate$/, "").replaceAll("_", " ");
}

function fillVerdict(root, panel) {
  if (panel.score === null && !Object.keys(panel.metrics).length) return;
  make("div", root).append(make("b", root, { textContent: panel.score === null ? "?" : (100 * panel.score).toFixed(0) }), ` ${words(panel.scoreName)} × 100`);
  const table = make("table", root);
  for (const [name, value] of Object.entries(panel.metrics)) {
    if (name === panel.scoreName || name === "mean_reward" || name === "episode_length") continue;
    const rate = name.endsWith("_rate"), amount = name === "mean_abs_jerk";
    const good = rate ? (name === "goal_rate" ? value > 0 : value === 0) : amount || value >= 0.5;
    const row = make("tr", table, { className: value === null || good ? "" : "low" });
    make("td", row, { textContent: words(name) });
    const shown = value === null ? "unknown" : amount ? `${value.toFixed(1)} m/s³` : rate ? (value ? "yes" : "no") : (100 * value).toFixed(0);
    make("td", row, { textContent: shown });
  }
}

function measure(view) {
  const bounds = view.root.getBoundingClientRect();
  view.ratio = Math.min(window.devicePixelRatio || 1, 2);
  view.canvas.width = view.width = Math.max(1, Math.round(bounds.width * view.ratio));
  view.canvas.height = view.height = Math.max(1, Math.round(bounds.height * view.ratio));
  if (!camera.held) fit();
  dirty = true;
}

function turned(x, y, back = false) {
  const turn = (Math.PI / 2 - scene.up) * (back ? -1 : 1), c = Math.cos(turn), s = Math.sin(turn);
  return [c * x - s * y, s * x + c * y];
}

// Shows the way to the goal, which is the same in every panel, and where drives that go elsewhere end.
function fit() {
  const views = panels.filter((view) => view.width > 1);
  if (!views.length) return;
  let left = Infinity, right = -Infinity, low = Infinity, high = -Infinity;
  const take = (track, count) => {
    for (let i = 0; i < count; i++) {
      const [x, y] = turned(track.x[i], track.y[i]);
      left = Math.min(left, x), right = Math.max(right, x), low = Math.min(low, y), high = Math.max(high, y);
    }
  };
  take(scene.log, scene.log.x.length);
  for (const panel of scene.panels) take(panel.ego, panel.frames);
  const room = 8, widths = views.map((v) => v.width / v.ratio), heights = views.map((v) => v.height / v.ratio - HEADING);
  camera.scale = Math.min(12, Math.min(...widths) / (right - left + 2 * room), Math.min(...heights) / (high - low + 2 * room));
  camera.scale = Math.max(camera.scale, 0.4);
  [camera.x, camera.y] = turned((left + right) / 2, (low + high) / 2 + HEADING / 2 / camera.scale, true);
  camera.held = false;
  dirty = true;
}

function zoom(factor, view, clientX, clientY) {
  const scale = Math.min(60, Math.max(0.4, camera.scale * factor));
  if (view && !shows.follow) {
    const bounds = view.canvas.getBoundingClientRect();
    const dx = clientX - bounds.left - bounds.width / 2, dy = clientY - bounds.top - bounds.height / 2;
    const [x, y] = turned(dx / camera.scale - dx / scale, dy / scale - dy / camera.scale, true);
    camera.x += x, camera.y += y;
  }
  camera.scale = scale;
  camera.held = true;
  dirty = true;
}

function pan(dx, dy) {
  if (shows.follow) toggle("follow");
  const [x, y] = turned(dx / camera.scale, -dy / camera.scale, true);
  camera.x -= x, camera.y -= y;
  camera.held = true;
  dirty = true;
}

function listen(view) {
  const pointers = new Map();
  const canvas = view.canvas;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const earlier = pointers.get(event.pointerId);
    if (!earlier) return;
    if (pointers.size === 1) pan(event.clientX - earlier.clientX, event.clientY - earlier.clientY);
    else {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const gap = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      if (gap(earlier) > 0) zoom(gap(event) / gap(earlier), view, (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    }
    pointers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), view, event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("dblclick", fit);
}

// --- what the controls do ---------------------------------------------------------------------------------------------

function seek(to) {
  time = Math.min(Math.max(to, 0), last);
  dirty = true;
}

function play(on) {
  if (on && time >= last) time = 0;
  playing = on;
  before = 0;
  el("playIcon").setAttribute("d", on ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5l11 6.5-11 6.5z");
  dirty = true;
}

function egoAt(panel) {
  return poseAt(panel.ego, Math.min(time, panel.frames - 1), { x: 0, y: 0, h: 0 });
}

function toggle(name) {
  const entry = TOGGLES.find((row) => row[0] === name);
  if (!entry[4]) return;
  shows[name] = !shows[name];
  entry.button.setAttribute("aria-pressed", shows[name]);
  if (name === "follow") {
    const at = egoAt(scene.panels[0]);
    Object.assign(camera, { x: at.x, y: at.y, held: true, scale: shows.follow ? Math.max(camera.scale, CLOSE) : camera.scale });
  }
  dirty = true;
}

function setTheme(isDark) {
  dark = isDark;
  colors = isDark ? themes.dark : themes.light;
  for (const [name, value] of Object.entries(colors)) if (typeof value === "string") document.documentElement.style.setProperty(`--${name}`, value);
  document.documentElement.style.colorScheme = isDark ? "dark" : "light";
  dirty = true;
}

function changeSpeed(steps) {
  speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(speed) + steps))];
  el("speed").value = String(speed);
}

function jump(direction) {
  const frames = [...new Set(marks.map((mark) => Math.max(0, mark.frame - BEFORE_S / dt)))].sort((a, b) => a - b);
  const found = direction > 0 ? frames.find((f) => f > time + 0.5) : frames.filter((f) => f < time - 0.5).pop();
  if (found !== undefined) seek(found);
}

const KEYS = {
  " ": () => play(!playing), k: () => play(!playing),
  ArrowLeft: (e) => (play(false), seek(Math.ceil(time) - (e.shiftKey ? 1 / dt : 1))),
  ArrowRight: (e) => (play(false), seek(Math.floor(time) + (e.shiftKey ? 1 / dt : 1))),
  ArrowUp: () => changeSpeed(1), ArrowDown: () => changeSpeed(-1),
  Home: () => seek(0), End: () => seek(last),
  e: () => jump(1), E: () => jump(-1),
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
  d: () => setTheme(!dark), "?": () => showKeys(),
};
for (const [name, , key] of TOGGLES) KEYS[key.toLowerCase()] = () => toggle(name);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || el("keys").open) return;
  if (event.target.tagName === "SELECT" || (event.target.tagName === "BUTTON" && event.key === " ")) return;
  const action = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action(event);
});

function showKeys() {
  const keys = el("keys");
  keys.replaceChildren();
  const table = make("table", keys);
  const row = (...cells) => {
    const line = make("tr", table);
    for (const cell of cells) make("td", line).append(...(Array.isArray(cell) ? cell : [cell]));
  };
  const kbd = (...names) => names.flatMap((name, i) => [...(i ? [" "] : []), Object.assign(document.createElement("kbd"), { textContent: name })]);
  row(kbd("space"), "play, pause");
  row(kbd("←", "→"), "one frame; with shift one second");
  row(kbd("↑", "↓"), "faster, slower");
  row(kbd("E"), "next event; with shift the one before");
  for (const [, , key, meaning, there] of TOGGLES) if (there) row(kbd(key), meaning);
  row(kbd("0"), "show the whole drive");
  row(kbd("+", "−"), "zoom; also wheel, pinch and drag");
  row(kbd("D"), "dark or light");
  const swatch = (color) => Object.assign(document.createElement("span"), { className: "swatch", style: `background:${color}` });
  for (const [name, color] of [["ego", colors.ego], ["vehicle", colors.vehicle], ["parked", colors.parked], ["pedestrian", colors.pedestrian], ["cyclist", colors.cyclist], ["way to the goal", colors.route], ["seen by the policy", colors.seen]]) row(swatch(color), name);
  if (scene.panels.some((p) => p.insight?.risk)) row([swatch(colors.risk[0]), swatch(colors.risk.at(-1))], "considered actions: no risk … too risky (dashed, crossed out: forbidden)");
  make("button", keys, { type: "button", textContent: "Close", onclick: () => keys.close() });
  keys.showModal();
}

// --- drawing ----------------------------------------------------------------------------------------------------------

function consideredText(panel, frame) {
  const insight = panel.insight, at = Math.min(frame, insight.action.length - 1), [p, q] = insight.action[at];
  const lines = [`does  ${(p * 0.004).toFixed(1)} m/s²  steers ${Math.abs(q) < 5 ? "straight" : `${Math.abs(q / 10).toFixed(0)} % ${q > 0 ? "left" : "right"}`}`];
  if (insight.risk) {
    const blocked = [...insight.allowed[at]].filter((bit) => bit === "0").length;
    const total = insight.probability[at].reduce((a, b) => a + b, 0) || 1;
    const risk = insight.risk[at].reduce((sum, r, k) => sum + r * insight.probability[at][k], 0) / total;
    const bound = insight.epsilon === null ? "" : `  bound ${(insight.epsilon / 1000).toFixed(2)}`;
    lines.push(`risk  ${(risk / 1000).toFixed(3)}${bound}`, `${blocked} of ${insight.risk[at].length} likeliest proposals too risky`);
  } else if (insight.category) lines.push(`its ${insight.category[at].length} likeliest actions`);
  return lines.join("\n");
}

function draw() {
  const frame = Math.floor(time + 1e-6);
  for (const view of panels) {
    const panel = view.panel, at = Math.min(frame, panel.frames - 1), ended = frame >= panel.frames - 1;
    view.scale = camera.scale * view.ratio;
    const centre = shows.follow ? egoAt(panel) : camera;
    view.x = centre.x;
    view.y = centre.y;
    paintPanel(view.ctx, panel, time, view, shows);
    view.status.textContent = `${panel.ego.v[at].toFixed(1).padStart(4, "\u2007")} m/s   progress ${(100 * panel.ego.done[at]).toFixed(0).padStart(3, "\u2007")} %`;
    const failure = panel.events.find((event) => event.frame <= at && scene.failures.includes(event.kind));
    const told = failure?.kind ?? (ended ? panel.outcome : "");
    view.badge.hidden = !told;
    view.badge.textContent = told ? scene.eventNames[told] : "";
    view.badge.classList.toggle("failure", Boolean(failure));
    view.verdict.hidden = !ended || !view.verdict.childElementCount;
    view.considered.hidden = !(shows.considered && panel.insight);
    if (!view.considered.hidden) view.considered.textContent = consideredText(panel, frame);
  }
  el("clock").textContent = `${(time * dt).toFixed(1)} / ${(last * dt).toFixed(1)} s`;
  el("scrub").value = String(Math.round(time));
  el("scrub").setAttribute("aria-valuetext", `${(time * dt).toFixed(1)} seconds`);
  drawStrip();
}

function tick(now) {
  if (playing) {
    if (before) {
      time += ((now - before) / 1000 / dt) * speed;
      if (time >= last) (time = last), play(false);
      dirty = true;
    }
    before = now;
  }
  if (dirty) {
    dirty = false;
    draw();
  }
  requestAnimationFrame(tick);
}

// --- beginning --------------------------------------------------------------------------------------------------------

el("title").textContent = scene.scene.type.replaceAll("_", " ");
el("subtitle").textContent = `scene ${scene.scene.id} · ${scene.scene.split} · traffic ${scene.scene.traffic}`;
for (const entry of TOGGLES) {
  const [name, label, key, meaning, there] = entry;
  if (!there) shows[name] = false;
  entry.button = make("button", el("toggles"), { type: "button", textContent: label, title: `${meaning} (${key})`, hidden: !there, onclick: () => toggle(name) });
  entry.button.setAttribute("aria-pressed", shows[name]);
}
const panels = [];
for (const panel of scene.panels) panels.push(makePanel(panel));
el("scrub").max = String(last);
el("scrub").addEventListener("input", () => (play(false), seek(Number(el("scrub").value))));
el("play").addEventListener("click", () => play(!playing));
el("back").addEventListener("click", () => (play(false), seek(Math.ceil(time) - 1)));
el("next").addEventListener("click", () => (play(false), seek(Math.floor(time) + 1)));
el("speed").addEventListener("change", () => (speed = Number(el("speed").value)));
el("fit").addEventListener("click", () => (shows.follow && toggle("follow"), fit()));
el("theme").addEventListener("click", () => setTheme(!dark));
el("help").addEventListener("click", showKeys);
makeEventList();
new ResizeObserver(() => (dirty = true)).observe(el("timeline"));
play(false);
const asked = /[#&]t=([\d.]+)/.exec(window.location.hash); // a link to a moment, in seconds
if (asked) seek(Number(asked[1]) / dt);
drawStrip(); // gives the timeline its height, and so the panels theirs
panels.forEach(measure);
if (camera.scale < SMALL) toggle("follow");
setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
const pressed = /[#&]keys=([a-z]+)/i.exec(window.location.hash); // and with what is not shown by itself
for (const [name, , key, , there] of TOGGLES) if (there && pressed?.[1].toUpperCase().includes(key)) toggle(name);
requestAnimationFrame(tick);
