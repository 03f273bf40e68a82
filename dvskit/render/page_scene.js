'use strict';
// The cloud itself: the stored events, the camera, the box (a 2D canvas behind) and the points
// (WebGL2 in front). The box shows its far faces only, so that no point ever lies behind its lines.
const $ = id => document.getElementById(id);
const META = JSON.parse($('meta').textContent);
const DEG = Math.PI / 180, SLANT = [48, 24], FRONT = [90, 0], SIDE = [0, 0], UPRIGHT = [64, 36];
const S = {az: 0, el: 0, view: SLANT, zoom: 1, panX: 0, panY: 0, turned: false, theme: 'dark',
  byTime: true, pos: 1, win: 1, points: 0, moving: false, budget: 1e6};
const theme = () => META.themes[S.theme];
const UNITS = [['µs', 1, 2e3], ['ms', 1e3, 2e6], ['s', 1e6, Infinity]];
const [UNIT, UNIT_US] = UNITS.find(u => META.span_us < u[2]);
const PIXEL = 1 / Math.max(META.width, META.height);
const HALF = [META.time_length / 2, META.height * PIXEL / 2, META.width * PIXEL / 2];
const REACH = Math.hypot(...HALF);

// -- stored events: six planes of bytes (x low, x high + polarity, y low, y high, time step low,
// high), deflated, base64; unpacked to four uint16 an event: x, y, time, polarity.
function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const parts = [], step = 1 << 20;
  for (let at = 0; at < text.length; at += step) {
    const piece = atob(text.slice(at, at + step));
    parts.push(Uint8Array.from(piece, c => c.charCodeAt(0)));
  }
  return new Blob(parts);
}
async function unpack() {
  const packed = new Blob([fromBase64($('data').textContent)]);
  $('data').remove();
  const stream = packed.stream().pipeThrough(new DecompressionStream('deflate'));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = META.kept, events = new Uint16Array(4 * n);
  if (raw.length !== 6 * n) throw new Error('the stored events are incomplete');
  for (let i = 0, t = 0; i < n; i++) {
    const high = raw[n + i];
    t += raw[4 * n + i] | raw[5 * n + i] << 8;
    events[4 * i] = raw[i] | (high & 127) << 8;
    events[4 * i + 1] = raw[2 * n + i] | raw[3 * n + i] << 8;
    events[4 * i + 2] = t;
    events[4 * i + 3] = high >> 7;
  }
  return events;
}
let EVENTS = new Uint16Array(0);
function firstAt(time) {  // the first event whose stored time is at least `time`
  let low = 0, high = META.kept;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (EVENTS[4 * middle + 2] < time) low = middle + 1; else high = middle;
  }
  return low;
}
const shown = () => [S.win >= 1 ? 0 : firstAt(Math.max(0, S.pos - S.win) * 65535),
  S.pos >= 1 ? META.kept : firstAt(S.pos * 65535)];

// -- camera: u = cu + scale * right / depth, v = cv - scale * up / depth, depth = dist - towards
function rotation([az, el]) {
  const ca = Math.cos(az * DEG), sa = Math.sin(az * DEG), ce = Math.cos(el * DEG), se = Math.sin(el * DEG);
  return [[ca, 0, sa], [se * sa, ce, -se * ca], [-ce * sa, se, ce * ca]];
}
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const lookAt = (turn, p) => [dot(turn[0], p), dot(turn[1], p), dot(turn[2], p)];
const CORNERS = [0, 1, 2, 3, 4, 5, 6, 7].map(i => HALF.map((h, axis) => i >> axis & 1 ? h : -h));
function extent(turn, dist, scale) {
  const points = CORNERS.map(p => lookAt(turn, p)).map(e => [scale * e[0] / (dist - e[2]), -scale * e[1] / (dist - e[2])]);
  const u = points.map(p => p[0]), v = points.map(p => p[1]);
  return [Math.min(...u), Math.min(...v), Math.max(...u), Math.max(...v)];
}
const isSmall = () => innerWidth <= 760 || innerHeight <= 480;
function plotRect() {  // what words and controls leave free, less the room for labels
  const w = innerWidth, h = innerHeight, small = isSmall();
  // On a phone held sideways height is dear: the box stands between the words.
  const top = h <= 480 ? 12 : Math.max($('head').getBoundingClientRect().bottom, $('key').getBoundingClientRect().bottom);
  const bottom = $('bar').getBoundingClientRect().top || h;
  const side = h <= 480 && w > 600 ? 0.3 * w : small ? 46 : 84;
  return [side, top + (small ? 18 : 22), w - (small ? 46 : 84), Math.max(top + 80, bottom - (small ? 46 : 62))];
}
let FIT = {dist: 4, scale: 1000, cu: 0, cv: 0};
function fit() {
  const [left, top, right, bottom] = plotRect(), turn = rotation(S.view);
  const scale = META.focal / 2 * Math.max(bottom - top, (right - left) / 1.6);
  let near = REACH * 1.01, far = 200;
  for (let i = 0; i < 40; i++) {
    const dist = (near + far) / 2, box = extent(turn, dist, scale);
    if (box[2] - box[0] <= right - left && box[3] - box[1] <= bottom - top) far = dist; else near = dist;
  }
  const box = extent(turn, far, scale);
  FIT = {dist: far, scale, cu: (left + right - box[0] - box[2]) / 2, cv: (top + bottom - box[1] - box[3]) / 2};
}
function camera() {
  const dist = FIT.dist * S.zoom;
  return {turn: rotation([S.az, S.el]), dist, scale: FIT.scale, cu: FIT.cu + S.panX * innerHeight, cv: FIT.cv + S.panY * innerHeight};
}
function lookFrom(view) {
  Object.assign(S, {view, az: view[0], el: view[1], zoom: 1, panX: 0, panY: 0, turned: false});
  fit();
}
const slant = () => { const [l, t, r, b] = plotRect(); return (r - l) / (b - t) < 0.85 ? UPRIGHT : SLANT; };
const NEAR = 0.02;
const screen = (cam, e) => { const d = Math.max(NEAR, cam.dist - e[2]); return [cam.cu + cam.scale * e[0] / d, cam.cv - cam.scale * e[1] / d]; };
const project = (cam, p) => screen(cam, lookAt(cam.turn, p));
function projectLine(cam, p, q) {  // cut where it passes behind the camera
  let a = lookAt(cam.turn, p), b = lookAt(cam.turn, q);
  const da = cam.dist - a[2] - NEAR, db = cam.dist - b[2] - NEAR;
  if (da < 0 && db < 0) return null;
  const cut = () => a.map((v, i) => v + (b[i] - v) * da / (da - db));
  if (da < 0) a = cut(); else if (db < 0) b = cut();
  return [screen(cam, a), screen(cam, b)];
}

// -- axes
const SPAN = Math.max(1, META.span_us) / UNIT_US;
const AXES = [
  {title: `time (${UNIT})`, stop: SPAN, origin: -HALF[0], scale: 2 * HALF[0] / SPAN, whole: false},
  {title: 'y (px)', stop: META.height, origin: HALF[1], scale: -PIXEL, whole: true},
  {title: 'x (px)', stop: META.width, origin: -HALF[2], scale: PIXEL, whole: true}];
const place = (axis, value) => axis.origin + axis.scale * value;
function ticks(axis, count) {
  const raw = axis.stop / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  let step = ([1, 2, 5].find(m => m * power >= raw * 0.999) || 10) * power;
  if (axis.whole) step = Math.max(1, step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let i = 0; i <= Math.floor(axis.stop / step + 1e-9); i++) {
    found.push([i * step, (i * step).toLocaleString('en', {minimumFractionDigits: digits, maximumFractionDigits: digits})]);
  }
  return found;
}
function labelEdge(cam, back, axis) {  // the outline edge to label: the lowest, for y the leftmost
  const others = [0, 1, 2].filter(i => i !== axis), centre = project(cam, [0, 0, 0]);
  const edges = others.map(flip => {
    const fixed = back.map((s, i) => (i === flip ? -s : s) * HALF[i]);
    const a = fixed.slice(), b = fixed.slice();
    a[axis] = -HALF[axis]; b[axis] = HALF[axis];
    const p = project(cam, a), q = project(cam, b), length = Math.max(1e-9, Math.hypot(q[0] - p[0], q[1] - p[1]));
    const middle = [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
    let out = [-(q[1] - p[1]) / length, (q[0] - p[0]) / length];
    if (out[0] * (middle[0] - centre[0]) + out[1] * (middle[1] - centre[1]) < 0) out = [-out[0], -out[1]];
    return {fixed, length, middle, out, rank: axis === 1 ? -middle[0] : middle[1]};
  });
  return edges[0].rank >= edges[1].rank ? edges[0] : edges[1];
}
function drawLabel(ctx, at, out, away, text, colour, font) {
  ctx.fillStyle = colour; ctx.font = font;
  ctx.textAlign = out[0] > 0.3 ? 'left' : out[0] < -0.3 ? 'right' : 'center';
  ctx.textBaseline = out[1] > 0.3 ? 'top' : out[1] < -0.3 ? 'bottom' : 'middle';
  ctx.fillText(text, at[0] + out[0] * away, at[1] + out[1] * away);
}
function farFaces(back, marks) {  // grid lines and rims as pairs of box points
  const corner = back.map((s, i) => s * HALF[i]), grid = [], rims = [];
  for (let face = 0; face < 3; face++) for (const along of [0, 1, 2]) {
    if (along === face) continue;
    const across = 3 - face - along;
    const line = value => [-1, 1].map(end => { const p = corner.slice(); p[across] = value; p[along] = end * HALF[along]; return p; });
    for (const [value] of marks[across]) grid.push(line(place(AXES[across], value)));
    for (const end of [-1, 1]) rims.push(line(end * HALF[across]));
  }
  return {grid, rims};
}
function drawBox(ctx, cam) {
  const colours = theme(), small = isSmall();
  const back = cam.turn[2].map(v => v >= 0 ? -1 : 1);
  const edges = [0, 1, 2].map(axis => labelEdge(cam, back, axis));
  const marks = AXES.map((axis, i) => ticks(axis, Math.min(12, edges[i].length / (small ? 52 : 68))));
  const stroke = (lines, colour) => {
    ctx.strokeStyle = colour; ctx.lineWidth = 1; ctx.beginPath();
    for (const line of lines) if (line) { ctx.moveTo(...line[0]); ctx.lineTo(...line[1]); }
    ctx.stroke();
  };
  const {grid, rims} = farFaces(back, marks), family = getComputedStyle(document.body).fontFamily;
  stroke(grid.map(l => projectLine(cam, ...l)), colours.grid);
  stroke(rims.map(l => projectLine(cam, ...l)), colours.line);
  if (S.pos < 1 || S.win < 1) drawNow(stroke, cam, colours);
  edges.forEach((edge, i) => {
    for (const [value, text] of marks[i]) {
      const point = edge.fixed.slice(); point[i] = place(AXES[i], value);
      if (cam.dist - lookAt(cam.turn, point)[2] < 0.2) continue;
      const at = project(cam, point);
      stroke([[at, [at[0] + edge.out[0] * 5, at[1] + edge.out[1] * 5]]], colours.line);
      drawLabel(ctx, at, edge.out, 9, text, colours.faint, `${small ? 11 : 12}px ${family}`);
    }
    if (small && i === 1) {
      const top = edge.fixed.slice(); top[1] = HALF[1];
      drawLabel(ctx, project(cam, top), [-0.35, -1], 9, AXES[1].title, colours.text, `500 11px ${family}`);
    } else if (edge.length > 60) drawLabel(ctx, edge.middle, edge.out, i === 1 ? 42 : small ? 26 : 34, AXES[i].title, colours.text, `500 ${small ? 11 : 13}px ${family}`);
  });
}
function drawNow(stroke, cam, colours) {  // the frame at the end of the time window
  const t = (2 * S.pos - 1) * HALF[0], [, y, z] = HALF;
  const frame = [[t, -y, -z], [t, y, -z], [t, y, z], [t, -y, z]];
  stroke(frame.map((p, i) => projectLine(cam, p, frame[(i + 1) % 4])), colours.faint);
}

// -- points
let GL = null;
const VERTEX = `#version 300 es
in vec4 event; uniform mat3 turn; uniform vec4 lens, depths; uniform vec3 box, ground; uniform float size;
uniform bool byTime; uniform sampler2D palette; out vec3 colour; flat out float side;
void main() {
  vec3 p = vec3((event.z / 65535. - .5) * ${META.time_length.toFixed(4)}, (box.y * .5 - .5 - event.y) * box.z, (event.x + .5 - box.x * .5) * box.z);
  vec3 e = turn * p; float d = depths.x - e.z, n = depths.y, f = depths.z;
  gl_Position = vec4(lens.x * e.x + lens.z * d, lens.y * e.y + lens.w * d, (d * (f + n) - 2. * f * n) / (f - n), d);
  gl_PointSize = side = clamp(size * depths.x / max(d, .01), 1., 64.);
  int at = byTime ? int(event.z / 65535. * 255.) : 256 + int(event.w);
  float fog = depths.w * clamp((d - n) / (f - n), 0., 1.);
  colour = mix(texelFetch(palette, ivec2(at, 0), 0).rgb, ground, fog);
}`;
// Two programs: what discards pixels cannot test depth early, and small points need no rounding.
const fragment = round => `#version 300 es
precision mediump float; in vec3 colour; flat in float side; out vec4 o;
void main() { ${round ? 'vec2 c = gl_PointCoord - .5; if (side > 2.5 && dot(c, c) > .26) discard;' : ''} o = vec4(colour, 1.); }`;
const bytes = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
function compile(gl, round) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment(round)]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text); gl.compileShader(shader); gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, 'event'); gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error('the graphics driver refused the shaders: ' + gl.getProgramInfoLog(program));
  return {program, at: name => gl.getUniformLocation(program, name)};
}
function startGL() {
  const gl = $('cloud').getContext('webgl2', {antialias: false, alpha: true, powerPreference: 'high-performance'});
  if (!gl) return null;
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, EVENTS, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0); gl.enable(gl.DEPTH_TEST);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  GL = {gl, square: compile(gl, false), round: compile(gl, true)};
  paintPalette();
  return GL;
}
function paintPalette() {  // 256 colours of time, then OFF and ON
  if (!GL) return;
  const {gl} = GL, stops = theme().stops.map(bytes), table = new Uint8Array(258 * 4).fill(255);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at));
    for (let c = 0; c < 3; c++) table[4 * i + c] = Math.round(stops[k][c] + (stops[k + 1][c] - stops[k][c]) * (at - k));
  }
  table.set(bytes(theme().off), 1024); table.set(bytes(theme().on), 1028);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 258, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
}
function pointSize(cam) {
  const pitch = cam.scale * PIXEL / cam.dist, crowd = Math.min(1, (2e5 / Math.max(1, META.kept)) ** 0.25);
  return Math.min(6, Math.max(1, 0.55 * pitch * crowd)) * 4 ** S.points;
}
function drawPoints(cam, scale) {
  const {gl} = GL, w = innerWidth, h = innerHeight, [first, last] = shown(), count = last - first;
  gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
  gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  // While moving every k-th event is drawn, by the stride alone (255 bytes at most).
  const every = S.moving ? Math.min(31, Math.max(1, Math.ceil(count / S.budget))) : 1;
  const size = pointSize(cam) * scale, near = Math.max(0.01, cam.dist - REACH);
  const {program, at} = size * cam.dist / near > 2.5 ? GL.round : GL.square;
  gl.useProgram(program);
  gl.uniformMatrix3fv(at('turn'), true, cam.turn.flat());
  gl.uniform4f(at('lens'), 2 * cam.scale / w, 2 * cam.scale / h, 2 * cam.cu / w - 1, 1 - 2 * cam.cv / h);
  gl.uniform4f(at('depths'), cam.dist, near, cam.dist + REACH, 0.3);
  gl.uniform3f(at('box'), META.width, META.height, PIXEL);
  gl.uniform3f(at('ground'), ...bytes(theme().ground).map(v => v / 255));
  gl.uniform1f(at('size'), size);
  gl.uniform1i(at('byTime'), S.byTime ? 1 : 0);
  gl.vertexAttribPointer(0, 4, gl.UNSIGNED_SHORT, false, 8 * every, 8 * first);
  const drawn = Math.ceil(count / every);
  if (drawn) gl.drawArrays(gl.POINTS, 0, drawn);
  return {count, drawn};
}
