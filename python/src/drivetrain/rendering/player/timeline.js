// The strip under the panels: speed over time, what happened, the risk the policy saw.
const ROW = 34; // height of a panel's row [CSS pixels]
const MARK = 7;
const CHANCES = ["last_chance", "no_chance"];

// Everything that happened, in order of time.
const marks = scene.panels
  .flatMap((panel, row) => panel.events.map((event) => ({ ...event, row, label: panel.label })))
  .sort((a, b) => a.frame - b.frame);

function makeEventList() {
  const several = scene.panels.length > 1;
  for (const mark of marks) {
    const failure = scene.failures.includes(mark.kind);
    const text = `${(mark.frame * dt).toFixed(1)} s  ${scene.eventNames[mark.kind]}${mark.note ? `: ${mark.note}` : ""}${several ? `  (${mark.label})` : ""}`;
    make("button", el("events"), { type: "button", className: failure ? "failure" : "", textContent: text, onclick: () => (play(false), seek(mark.frame - BEFORE_S / dt)) });
  }
}

function drawStrip() {
  const canvas = el("strip"), ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = canvas.parentElement.clientWidth, height = scene.panels.length * ROW + 6;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const left = 8, right = width - 8, x = (frame) => left + ((right - left) * frame) / Math.max(last, 1);
  const fastest = Math.max(5, ...scene.panels.map((panel) => Math.max(...panel.ego.v)));
  scene.panels.forEach((panel, row) => drawRow(ctx, panel, row * ROW + 3, x, fastest));
  ctx.strokeStyle = colors.ink;
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.moveTo(x(time), 0);
  ctx.lineTo(x(time), height);
  ctx.stroke();
  ctx.fillStyle = colors.ink;
  ctx.beginPath();
  ctx.arc(x(time), 5, 5, 0, 7);
  ctx.fill();
}

function drawRow(ctx, panel, top, x, fastest) {
  const bottom = top + ROW - 6;
  ctx.fillStyle = colors.raised;
  ctx.fillRect(x(0), top, x(last) - x(0), ROW - 6);
  ctx.beginPath();
  ctx.moveTo(x(0), bottom);
  for (let i = 0; i < panel.frames; i++) ctx.lineTo(x(i), bottom - ((ROW - 8) * panel.ego.v[i]) / fastest);
  ctx.lineTo(x(panel.frames - 1), bottom);
  ctx.fillStyle = colors.route;
  ctx.fill();
  if (panel.insight?.risk) drawRisk(ctx, panel.insight, bottom, x);
  ctx.font = "11px system-ui, sans-serif";
  ctx.fillStyle = colors.faint;
  ctx.fillText(`${scene.panels.length > 1 ? `${panel.label}: ` : ""}speed, up to ${fastest.toFixed(0)} m/s`, x(0) + 5, top + 11);
  for (const mark of panel.events) drawMark(ctx, mark.kind, x(mark.frame), top + (ROW - 6) / 2);
}

// A stripe along the bottom: the mean risk of what the policy may do next.
function drawRisk(ctx, insight, bottom, x) {
  for (let i = 0; i < insight.risk.length; i++) {
    let risk = 0, total = 0;
    insight.risk[i].forEach((value, k) => ((risk += value * insight.probability[i][k]), (total += insight.probability[i][k])));
    ctx.fillStyle = riskColor(total ? risk / total : 0, insight.epsilon);
    ctx.fillRect(x(i), bottom - 4, x(i + 1) - x(i) + 0.5, 4);
  }
}

// Shapes differ besides colours: a cross for a failure, a triangle for a warning, a diamond for the last chance to
// avoid a failure, a disc for the goal.
function drawMark(ctx, kind, x, y) {
  const failure = scene.failures.includes(kind);
  ctx.beginPath();
  if (failure) {
    ctx.moveTo(x - MARK, y - MARK);
    ctx.lineTo(x + MARK, y + MARK);
    ctx.moveTo(x + MARK, y - MARK);
    ctx.lineTo(x - MARK, y + MARK);
    for (const [color, width] of [[colors.halo, 6], [colors.event, 3.5]]) {
      ctx.strokeStyle = color;
      ctx.lineWidth = width;
      ctx.stroke();
    }
    return;
  }
  if (kind === "ttc") {
    ctx.moveTo(x, y - MARK);
    ctx.lineTo(x + MARK, y + MARK - 1);
    ctx.lineTo(x - MARK, y + MARK - 1);
    ctx.closePath();
  } else if (CHANCES.includes(kind)) {
    ctx.moveTo(x, y - MARK);
    ctx.lineTo(x + MARK, y);
    ctx.lineTo(x, y + MARK);
    ctx.lineTo(x - MARK, y);
    ctx.closePath();
  } else ctx.arc(x, y, MARK - 1, 0, 7);
  ctx.fillStyle = kind === "ttc" ? colors.yellow : kind === "no_chance" ? colors.faint : CHANCES.includes(kind) ? colors.green : colors.ego;
  ctx.strokeStyle = colors.halo;
  ctx.lineWidth = 1.5;
  ctx.fill();
  ctx.stroke();
}
