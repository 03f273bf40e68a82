// The box with its axes on a 2D canvas behind the points. Only its far faces are drawn, so that no
// point ever lies behind its lines.
function ticks(axis, count) {
  const raw = (axis.stop - axis.start) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  let step = ([1, 2, 5].find(m => m * power >= raw * 0.999) || 10) * power;
  if (axis.whole) step = Math.max(1, step);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let i = Math.ceil(axis.start / step - 1e-9); i <= Math.floor(axis.stop / step + 1e-9); i++) found.push([i * step, decimals(i * step || 0, places)]);  // not -0
  return found;
}
const place = (axis, value) => axis.origin + axis.scale * (value - axis.start);
function labelEdge(cam, box, back, axis) {  // the outline edge to label: the lowest, for y the leftmost
  const others = [0, 1, 2].filter(i => i !== axis), center = project(cam, [0, 0, 0]);
  const edges = others.map(flip => {
    const fixed = back.map((s, i) => (i === flip ? -s : s) * box.half[i]);
    const a = fixed.slice(), b = fixed.slice();
    a[axis] = -box.half[axis]; b[axis] = box.half[axis];
    const p = project(cam, a), q = project(cam, b), length = Math.max(1e-9, Math.hypot(q[0] - p[0], q[1] - p[1]));
    const middle = [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
    let out = [-(q[1] - p[1]) / length, (q[0] - p[0]) / length];
    if (out[0] * (middle[0] - center[0]) + out[1] * (middle[1] - center[1]) < 0) out = [-out[0], -out[1]];
    const outline = Math.abs(cam.eye[flip]) > box.half[flip];
    return {fixed, length, middle, out, rank: (axis === 1 ? -middle[0] : middle[1]) + (outline ? 1e6 : 0)};
  });
  return edges[0].rank >= edges[1].rank ? edges[0] : edges[1];
}
function clearance(cam, box, axis) {  // above 0 an edge is on the outline; else its labels would cover the events
  return Math.max(...[0, 1, 2].filter(i => i !== axis).map(i => Math.abs(cam.eye[i]) / box.half[i])) - 1;
}
function drawLabel(ctx, at, out, away, text, color, font) {
  ctx.fillStyle = color; ctx.font = font;
  ctx.textAlign = out[0] > 0.3 ? 'left' : out[0] < -0.3 ? 'right' : 'center';
  ctx.textBaseline = out[1] > 0.3 ? 'top' : out[1] < -0.3 ? 'bottom' : 'middle';
  ctx.fillText(text, at[0] + out[0] * away, at[1] + out[1] * away);
}
function strokeLines(ctx, lines, color, width = 1) {
  ctx.strokeStyle = color; ctx.lineWidth = width; ctx.beginPath();
  for (const line of lines) if (line) { ctx.moveTo(...line[0]); ctx.lineTo(...line[1]); }
  ctx.stroke();
}
function farFaces(box, axes, back, marks) {  // grid lines and rims as pairs of box points
  const corner = back.map((s, i) => s * box.half[i]), lines = [], rims = [];
  for (let face = 0; face < 3; face++) for (const along of [0, 1, 2]) {
    if (along === face) continue;
    const across = 3 - face - along;
    const line = value => [-1, 1].map(end => { const p = corner.slice(); p[across] = value; p[along] = end * box.half[along]; return p; });
    for (const [value] of marks[across]) lines.push(line(place(axes[across], value)));
    for (const end of [-1, 1]) rims.push(line(end * box.half[across]));
  }
  return {lines, rims};
}
const family = () => getComputedStyle(document.body).fontFamily;
function backOf({turn: [right, up, towards]}) {  // the far side of each axis; for an axis across the view the lower or left side
  const across = i => Math.abs(up[i]) > Math.abs(right[i]) ? up[i] : right[i];
  return towards.map((v, i) => (Math.abs(v) > 1e-9 ? v : across(i)) >= 0 ? -1 : 1);
}
function drawBox(ctx, cell, cam) {
  const {box} = cell, {axes} = box, colors = theme(), small = isSmall() || CLOUDS.length > 1;
  const back = backOf(cam);
  const edges = [0, 1, 2].map(axis => labelEdge(cam, box, back, axis));
  const marks = axes.map((axis, i) => ticks(axis, Math.min(12, edges[i].length / (small ? 52 : 68))));
  const {lines, rims} = farFaces(box, axes, back, marks);
  strokeLines(ctx, lines.map(l => projectLine(cam, ...l)), colors.grid);
  strokeLines(ctx, rims.map(l => projectLine(cam, ...l)), colors.line);
  if (!S.fill && (S.pos < 1 || S.win < 1)) drawNow(ctx, box, cam, colors);
  const bands = drawBands(ctx, cell, cam, edges[0], axes[0]);
  edges.forEach((edge, i) => {
    ctx.globalAlpha = clamp(clearance(cam, box, i) / 0.25, 0, 1);
    if (ctx.globalAlpha) drawAxis(ctx, cam, {edge, axis: axes[i], marks: marks[i], i, small, beside: i === 0 ? bands : 0});
  });
  ctx.globalAlpha = 1;
}
function drawAxis(ctx, cam, {edge, axis, marks, i, small, beside}) {
  const colors = theme(), font = `${small ? 11 : 12}px ${family()}`;
  for (const [value, text] of marks) {
    const point = edge.fixed.slice(); point[i] = place(axis, value);
    if (cam.perspective && depthOf(cam, lookAt(cam.turn, point)) < 0.2) continue;
    const at = project(cam, point), start = [at[0] + edge.out[0] * beside, at[1] + edge.out[1] * beside];
    strokeLines(ctx, [[start, [start[0] + edge.out[0] * 5, start[1] + edge.out[1] * 5]]], colors.line);
    drawLabel(ctx, start, edge.out, 9, text, colors.faint, font);
  }
  if (small && i === 1) {
    const top = edge.fixed.slice();
    top[1] = Math.max(place(axis, axis.start), place(axis, axis.stop));
    drawLabel(ctx, project(cam, top), [-0.35, -1], 9, axis.title, colors.text, `500 11px ${family()}`);
  } else if (edge.length > 60) {
    ctx.font = font;
    const widest = Math.max(0, ...marks.map(([, text]) => ctx.measureText(text).width));
    const away = Math.max(i === 1 ? 42 : small ? 26 : 34, 17 + widest * Math.abs(edge.out[0]));
    drawLabel(ctx, edge.middle, edge.out, beside + away, axis.title, colors.text, `500 ${small ? 11 : 13}px ${family()}`);
  }
}
function drawNow(ctx, box, cam, colors) {  // the frame at the end of the time window
  const t = (2 * S.pos - 1) * box.half[0], [, y, z] = box.half;
  const frame = [[t, -y, -z], [t, y, -z], [t, y, z], [t, -y, z]];
  strokeLines(ctx, frame.map((p, i) => projectLine(cam, p, frame[(i + 1) % 4])), colors.faint);
}

// -- labels and decisions: bands along the time axis, a color a name
const BAND = 17;  // the height of a row
const BAND_COLORS = ['#4e9ad1', '#e69f3c', '#3fae84', '#d66fa6', '#8d7fd6', '#c9b63f', '#d9694f', '#66b7c4'];
let names = [];  // names of all labels and decisions, in order of appearance
function readNames() { names = [...new Set(CLOUDS.flatMap(({told}) => [...told.labels, ...told.decisions]).map(([, , name]) => bandName(name)))]; }
function bandName(text) { return text.replace(/\s+\(?\d+(\.\d+)?\s*%\)?$/, ''); }  // without the share
const bandColor = name => BAND_COLORS[names.indexOf(bandName(name)) % BAND_COLORS.length];
const bandRows = told => [told.labels, told.decisions].filter(rows => rows.length);
function drawBands(ctx, {cloud, box}, cam, edge, axis) {  // returns their height
  const rows = bandRows(cloud.told), [start, stop] = boxUs(cloud);
  if (!rows.length || edge.length < 60) return 0;
  rows.forEach((row, r) => {
    for (const [from, to, name] of row) {
      if (to <= start || from >= stop) continue;
      const ends = [from, to].map(us => { const p = edge.fixed.slice(); p[0] = ((clamp(us, start, stop) - start) / (stop - start) * 2 - 1) * box.half[0]; return p; });
      const line = projectLine(cam, ...ends);
      if (line) drawBand(ctx, line, edge.out, 4 + r * BAND, BAND - 2, name);
    }
  });
  return 4 + rows.length * BAND;
}
function drawBand(ctx, [p, q], out, away, thick, name) {
  const length = Math.hypot(q[0] - p[0], q[1] - p[1]), shift = d => [out[0] * d, out[1] * d];
  const [near, far] = [shift(away), shift(away + thick)];
  ctx.fillStyle = bandColor(name); ctx.beginPath();
  for (const [point, by] of [[p, near], [q, near], [q, far], [p, far]]) ctx.lineTo(point[0] + by[0], point[1] + by[1]);
  ctx.fill();
  ctx.font = `600 11px ${family()}`;
  if (ctx.measureText(name).width + 8 > length) return;
  const middle = shift(away + thick / 2);
  let angle = Math.atan2(q[1] - p[1], q[0] - p[0]);
  if (Math.abs(angle) > Math.PI / 2) angle += Math.PI;
  ctx.save();
  ctx.translate((p[0] + q[0]) / 2 + middle[0], (p[1] + q[1]) / 2 + middle[1]); ctx.rotate(angle);
  ctx.fillStyle = '#14151c'; ctx.textAlign = 'center'; ctx.textBaseline = 'middle';
  ctx.fillText(name, 0, 0.5);
  ctx.restore();
}

// -- the flat view: what the sensor sees in the window, beside the cloud; a region is chosen on it.
let dragged = null;  // a region being drawn: {cell, from: [x, y], to: [x, y]} in pixels of the sensor
function drawFlatFrame(ctx, {cloud, box, flat, rect}) {
  const colors = theme(), {axes} = box, font = `11px ${family()}`;
  const {left, top, right, bottom} = flat;
  strokeLines(ctx, [[[left, top], [right, top]], [[right, top], [right, bottom]], [[right, bottom], [left, bottom]], [[left, bottom], [left, top]]].map(line => line.map(([u, v]) => [Math.round(u) + 0.5, Math.round(v) + 0.5])), colors.line);
  const [start, stop] = windowUs(cloud);
  const words = S.win >= 1 && S.pos >= 1 ? right - left > 200 ? 'all events, the latest on top' : 'all events' : duration(stop - start, 3);
  drawLabel(ctx, [(left + right) / 2, top], [0, -1], 7, words, colors.text, `500 12px ${family()}`);
  for (const [value, text] of ticks(axes[2], Math.min(8, (right - left) / 52))) {
    const u = left + (value - box.left) * flat.pixel;
    strokeLines(ctx, [[[u, bottom], [u, bottom + 4]]], colors.line);
    drawLabel(ctx, [u, bottom], [0, 1], 7, text, colors.faint, font);
  }
  for (const [value, text] of ticks(axes[1], Math.min(8, (bottom - top) / 36))) {
    const v = top + (value - box.top) * flat.pixel;
    strokeLines(ctx, [[[left - 4, v], [left, v]]], colors.line);
    drawLabel(ctx, [left, v], [-1, 0], 7, text, colors.faint, font);
  }
  if (bottom + 36 < rect[3] + 4) drawLabel(ctx, [(left + right) / 2, bottom], [0, 1], 22, 'x, y (px)', colors.faint, font);
}
function showDragged() {  // as an element, above the points
  const frame = $('drawn');
  frame.hidden = !dragged;
  if (!dragged) return;
  const {cell: {box, flat}} = dragged, [x0, y0, x1, y1] = drawnRegion();
  Object.assign(frame.style, {left: `${flat.left + (x0 - box.left) * flat.pixel}px`, top: `${flat.top + (y0 - box.top) * flat.pixel}px`, width: `${(x1 - x0) * flat.pixel}px`, height: `${(y1 - y0) * flat.pixel}px`});
}
function drawnRegion() {  // whole pixels, half-open
  const {from, to} = dragged, low = i => Math.floor(Math.min(from[i], to[i])), high = i => Math.floor(Math.max(from[i], to[i])) + 1;
  return [low(0), low(1), high(0), high(1)];
}
function flatAt(u, v) {  // the cell with the flat view at this point
  return CELLS.find(({flat}) => flat && u >= flat.left && u < flat.right && v >= flat.top && v < flat.bottom);
}
function pixelAt({box, flat}, u, v) {
  return [clamp(box.left + (u - flat.left) / flat.pixel, box.left, box.right - 1e-6), clamp(box.top + (v - flat.top) / flat.pixel, box.top, box.bottom - 1e-6)];
}
function startRegion(cell, u, v) { const at = pixelAt(cell, u, v); dragged = {cell, from: at, to: at, start: [u, v], moved: false}; }
function dragRegion(u, v) {
  dragged.to = pixelAt(dragged.cell, u, v);
  dragged.moved = dragged.moved || Math.hypot(u - dragged.start[0], v - dragged.start[1]) > 4;
  showDragged();
}
function endRegion() {
  const region = drawnRegion(), {moved} = dragged;
  dragged = null; showDragged();
  if (moved) setRegion(region);
}

// -- the region of interest
const LARGEST = ['width', 'height'].map(side => Math.max(1, ...META.clouds.map(told => told[side])));
function setRegion(region) {  // half-open; null is all
  const whole = [0, 0, ...LARGEST];
  if (region) region = [clamp(region[0], 0, LARGEST[0] - 1), clamp(region[1], 0, LARGEST[1] - 1), ...region.slice(2)];
  if (region) region = [region[0], region[1], clamp(region[2], region[0] + 1, LARGEST[0]), clamp(region[3], region[1] + 1, LARGEST[1])];
  S.region = region && region.some((v, i) => v !== whole[i]) ? region : null;
  tellRegion(); countRates(); layout(); atRest();
}
function tellRegion() {
  const [left, top, right, bottom] = S.region || [0, 0, ...LARGEST];
  $('region-words').textContent = `x ${left} to ${right - 1}, y ${top} to ${bottom - 1} px`;
  $('region-told').hidden = !S.region;
  $('region').setAttribute('aria-pressed', S.region !== null);
  [['x-first', left], ['x-last', right - 1], ['y-first', top], ['y-last', bottom - 1]].forEach(([name, value]) => { $(name).value = value; });
}
function readRegion() {  // from the four fields
  const [left, right, top, bottom] = ['x-first', 'x-last', 'y-first', 'y-last'].map(name => Math.round(Number($(name).value)));
  if ([left, right, top, bottom].every(Number.isFinite)) setRegion([Math.min(left, right), Math.min(top, bottom), Math.max(left, right) + 1, Math.max(top, bottom) + 1]);
}
