// Layout: the box of a recording, its camera, and the cells of the window.
// u = cu + scale * right / depth, v = cv - scale * up / depth, depth = dist - perspective * towards
const NEAR = 0.02;
function rotation([az, el]) {
  const ca = Math.cos(az * DEG), sa = Math.sin(az * DEG), ce = Math.cos(el * DEG), se = Math.sin(el * DEG);
  return [[ca, 0, sa], [se * sa, ce, -se * ca], [-ce * sa, se, ce * ca]];
}
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const lookAt = (turn, p) => [dot(turn[0], p), dot(turn[1], p), dot(turn[2], p)];

// -- the box: time, height, width, centered; the longer side of the region is 1
class Box {
  constructor(cloud) {
    this.cloud = cloud;
    [this.left, this.top, this.right, this.bottom] = cloud.region;
    const width = this.right - this.left, height = this.bottom - this.top;
    this.pixel = 1 / Math.max(width, height);
    this.half = [META.time_length / 2, height * this.pixel / 2, width * this.pixel / 2];
    this.reach = Math.hypot(...this.half);
    this.corners = [0, 1, 2, 3, 4, 5, 6, 7].map(i => this.half.map((h, axis) => i >> axis & 1 ? h : -h));
  }
  get axes() {
    const [start, stop] = boxUs(this.cloud), [unit, length] = unitOf(stop - start), [t, y, x] = this.half;
    return [
      {title: `time (${unit})`, start: start / length, stop: stop / length, origin: -t, scale: 2 * t * length / (stop - start), whole: false},
      {title: 'y (px)', start: this.top, stop: this.bottom, origin: y, scale: -this.pixel, whole: true},
      {title: 'x (px)', start: this.left, stop: this.right, origin: -x, scale: this.pixel, whole: true}];
  }
  at(x, y, us) {  // the middle of a pixel at a time
    const [start, stop] = boxUs(this.cloud);
    return [((us - start) / (stop - start) * 2 - 1) * this.half[0],
      this.half[1] - (y + 0.5 - this.top) * this.pixel, (x + 0.5 - this.left) * this.pixel - this.half[2]];
  }
}

// -- the window: one cell per recording, with the cloud and optionally the flat view
const isSmall = () => innerWidth <= 760 || innerHeight <= 480;
const isLying = () => innerHeight <= 480;  // a phone held sideways
const isBetween = () => isLying() && CLOUDS.length === 1 && !S.flat;  // a single box is drawn between the texts, else below them
let aside = () => [0, 0];  // set by scripts with more beside the cloud: its width at the right, its height at the top
function free() {  // the area without text and controls
  const lowest = Math.max(...['head', 'key'].map(name => $(name).getBoundingClientRect().bottom));
  const top = isBetween() ? 12 : lowest, bottom = $('bar').getBoundingClientRect().top || innerHeight;
  const [wide, tall] = aside();
  return [0, top + tall, innerWidth - wide, Math.max(top + tall + 100, bottom)];
}
const NEARLY = 0.8;  // the share of the best size at which full rows are better than a gap in the last one
function grid(count, width, height) {  // columns and rows with the largest cells; full rows if those are nearly as large
  const found = [];
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    found.push({columns, rows, least: Math.min(width / columns / 1.5, height / rows)});
  }
  const largest = options => options.reduce((best, option) => option.least > best.least ? option : best);
  const best = largest(found), full = largest(found.filter(({columns, rows}) => columns * rows === count));
  const {columns, rows} = full.least >= NEARLY * best.least ? full : best;
  return [columns, rows];
}
let CELLS = [];
function cells() {
  const [left, top, right, bottom] = free(), [columns, rows] = grid(Math.max(1, CLOUDS.length), right - left, bottom - top);  // a view may be empty
  const width = (right - left) / columns, height = (bottom - top) / rows;
  return CLOUDS.map((cloud, i) => {
    const x = left + width * (i % columns), y = top + height * Math.floor(i / columns);
    return cell(cloud, [x, y, x + width, y + height]);
  });
}
function cell(cloud, rect) {
  const box = new Box(cloud), small = isSmall() || CLOUDS.length > 1, side = small ? 46 : 84;
  let [left, top, right, bottom] = rect, flat = null;
  const named = CLOUDS.length > 1 ? 22 : 0;
  if (S.flat && right - left > 1.1 * (bottom - top)) {
    const aspect = box.half[2] / box.half[1], tall = bottom - top - named - 70;
    const close = right - left < 340, width = Math.min((close ? 0.46 : 0.42) * (right - left), Math.max(140, tall * aspect) + 76);
    flat = [right - width + 46, top + named + 26, right - (close ? 12 : 30), bottom - 40];
    right -= width;
  } else if (S.flat) {
    const height = 0.42 * (bottom - top);
    flat = [left + 46, bottom - height + 24, right - 20, bottom - 36];
    bottom -= height;
  }
  const area = [left, CLOUDS.length > 1 ? top : 0, right, CLOUDS.length > 1 || flat ? bottom : innerHeight];
  const beside = bandRows(cloud.told).length * BAND + (bandRows(cloud.told).length ? 4 : 0);
  const hold = isBetween() ? 0.3 * innerWidth : side;
  const view = [left + hold, top + named + (small ? 18 : 22), right - side - beside / 2, Math.max(top + 80, bottom - (small ? 46 : 62) - beside)];
  return {cloud, box, rect, area, view, flat: flat && frameFor(box, flat), fit: null};
}
function frameFor(box, [left, top, right, bottom]) {  // the largest frame of the region's shape
  const scale = Math.max(0.01, Math.min((right - left) / (2 * box.half[2]), (bottom - top) / (2 * box.half[1])));
  const width = 2 * box.half[2] * scale, height = 2 * box.half[1] * scale, x = (left + right - width) / 2;
  const y = innerWidth > innerHeight ? (top + bottom - height) / 2 : top;
  return {left: x, top: y, right: x + width, bottom: y + height, pixel: scale * box.pixel};
}

// -- the camera of a cell
const BLEND = 12;  // degrees beside an axis within which the projection becomes parallel
function perspectiveOf(turn) {  // 0, a parallel projection, along an axis of the box; else 1
  const beside = Math.acos(Math.min(1, Math.max(...turn[2].map(Math.abs)))) / DEG, x = clamp(beside / BLEND, 0, 1);
  return x * x * (3 - 2 * x);
}
function extent(box, turn, dist, scale, perspective) {
  const points = box.corners.map(p => lookAt(turn, p)).map(e => [e[0], -e[1]].map(side => scale * side / (dist - perspective * e[2])));
  const u = points.map(p => p[0]), v = points.map(p => p[1]);
  return [Math.min(...u), Math.min(...v), Math.max(...u), Math.max(...v)];
}
function fitted(cell) {  // the nearest cameras that see all of the box, with perspective and parallel
  const turn = rotation(S.view), seen = fitWith(cell, turn, 1);
  return {...seen, parallel: perspectiveOf(turn) < 1e-6 ? fitWith(cell, turn, 0) : seen};
}
function fitWith({box, view: [left, top, right, bottom]}, turn, perspective) {
  const scale = META.focal / 2 * Math.max(bottom - top, (right - left) / 1.6);
  let near = Math.max(1e-3, perspective * box.reach * 1.01), far = 200;
  for (let i = 0; i < 40; i++) {
    const dist = (near + far) / 2, seen = extent(box, turn, dist, scale, perspective);
    if (seen[2] - seen[0] <= right - left && seen[3] - seen[1] <= bottom - top) far = dist; else near = dist;
  }
  const seen = extent(box, turn, far, scale, perspective);
  return {dist: far, scale, cu: (left + right - seen[0] - seen[2]) / 2, cv: (top + bottom - seen[1] - seen[3]) / 2};
}
function arrange() {
  CELLS = cells();
  for (const each of CELLS) each.fit = fitted(each);
}
function camera({fit}) {
  const turn = rotation([S.az, S.el]), perspective = perspectiveOf(turn);
  const [dist, cu, cv] = ['dist', 'cu', 'cv'].map(name => fit.parallel[name] + perspective * (fit[name] - fit.parallel[name]));
  return {turn, perspective, dist: dist * S.zoom, scale: fit.scale, cu: cu + S.panX * innerHeight, cv: cv + S.panY * innerHeight,
    eye: turn[2].map(towards => towards * dist * S.zoom / Math.max(perspective, 1e-6))};  // in units of the box, practically at infinity
}
function lookFrom(view) {
  Object.assign(S, {view, az: view[0], el: view[1], zoom: 1, panX: 0, panY: 0, turned: false});
  arrange();
}
function slant() {
  const [first] = cells();
  if (!first) return SLANT;  // nothing to show yet
  const [left, top, right, bottom] = first.view;
  return (right - left) / (bottom - top) < 0.85 ? UPRIGHT : SLANT;
}
const depthOf = (cam, e) => cam.dist - cam.perspective * e[2];
const screen = (cam, e) => { const d = Math.max(NEAR, depthOf(cam, e)); return [cam.cu + cam.scale * e[0] / d, cam.cv - cam.scale * e[1] / d]; };
const project = (cam, p) => screen(cam, lookAt(cam.turn, p));
function projectLine(cam, p, q) {  // cut where it passes behind the camera
  let a = lookAt(cam.turn, p), b = lookAt(cam.turn, q);
  const da = depthOf(cam, a) - NEAR, db = depthOf(cam, b) - NEAR;
  if (da < 0 && db < 0) return null;
  const cut = () => a.map((v, i) => v + (b[i] - v) * da / (da - db));
  if (da < 0) a = cut(); else if (db < 0) b = cut();
  return [screen(cam, a), screen(cam, b)];
}
const cellAt = (u, v) => CELLS.find(({rect: [l, t, r, b]}) => u >= l && u < r && v >= t && v < b) || CELLS[0];
