'use strict';
// Shared by all scripts: the page's data, the state of the view, numbers as text; the events.
const $ = id => document.getElementById(id);
const META = JSON.parse($('meta').textContent);
const DEG = Math.PI / 180;
const SLANT = [48, 24], FRONT = [90, 0], SIDE = [0, 0], TOP = [0, 90], UPRIGHT = [64, 36];
const NAMED = {front: FRONT, side: SIDE, top: TOP};  // views along an axis, as named in addresses
const S = {
  az: 0, el: 0, view: SLANT, zoom: 1, panX: 0, panY: 0, turned: false,  // the camera
  pos: 1, win: 1, fill: false,  // the window's end and length, shares of the time; fills the box
  color: 'time', points: 0, theme: 'dark', flat: false, own: null, objects: true, region: null,  // [left, top, right, bottom]
  moving: false, budget: 5e5,
};
const COLORINGS = ['time', 'polarity', 'count', ...META.flow ? ['flow'] : []];
const theme = () => META.themes[S.theme];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const bytes = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
function mixed(stops, at) {  // the color at `at` in 0..1 through evenly spaced stops, three numbers
  const place = at * (stops.length - 1), k = clamp(Math.floor(place), 0, stops.length - 2);
  return [0, 1, 2].map(c => Math.round(stops[k][c] + (stops[k + 1][c] - stops[k][c]) * (place - k)));
}

// -- numbers as text
const UNITS = [['µs', 1, 2e3], ['ms', 1e3, 2e6], ['s', 1e6, Infinity]];
const unitOf = us => UNITS.find(unit => Math.abs(us) < unit[2]);
const number = n => n.toLocaleString('en');
const events = n => `${number(n)} event${n === 1 ? '' : 's'}`;
function perSecond(rate) {
  const [name, length] = [['Mev/s', 1e6], ['kev/s', 1e3], ['ev/s', 1]].find(([, length]) => rate >= length) || ['ev/s', 1];
  return `${number(Number((rate / length).toPrecision(3)))} ${name}`;
}
const decimals = (value, places) => value.toLocaleString('en', {minimumFractionDigits: places, maximumFractionDigits: places});
function duration(us, digits = 4) {
  const [name, length] = unitOf(us);
  return `${Number((us / length).toPrecision(digits)).toLocaleString('en', {maximumFractionDigits: 6})} ${name}`;
}

// -- the events: six planes of bytes per recording, and one of flow on pages with flow, deflated, base64. Time is stored in steps of
// `resolution_us` from the recording's first event, of which a point keeps the lower 16 bits: a
// piece is the 65,536 steps that share the rest.
const PIECE = 65536;

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const parts = [], step = 1 << 20;
  for (let at = 0; at < text.length; at += step) {
    const part = atob(text.slice(at, at + step));
    parts.push(Uint8Array.from(part, c => c.charCodeAt(0)));
  }
  return new Blob(parts);
}
async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function unpack(raw, n) {  // four uint16 an event: x, y, time in its piece, polarity and above it the row of flow
  const flow = META.flow ? raw.subarray(6 * n) : null;
  if (raw.length !== (flow ? 7 : 6) * n) throw new Error('the stored events are incomplete');
  const table = new Uint16Array(4 * n);
  for (let i = 0, t = 0; i < n; i++) {
    const high = raw[n + i];
    t += raw[4 * n + i] | raw[5 * n + i] << 8;
    table[4 * i] = raw[i] | (high & 127) << 8;
    table[4 * i + 1] = raw[2 * n + i] | raw[3 * n + i] << 8;
    table[4 * i + 2] = t;
    table[4 * i + 3] = high >> 7 | (flow ? flow[i] << 1 : 0);
  }
  return table;
}

class EventSet {  // events in order of time: of a whole recording, or of a part in more detail
  constructor(told, table) {
    this.table = table;
    this.length = told.kept;
    this.every = told.every;
    this.from = told.from_us || 0;  // µs from the recording's first event to step 0
    this.to = told.to_us; this.region = told.region || null;  // of a part: where it ends, its pixels
    this.step = told.resolution_us;
    this.firsts = [0];  // of each piece, and the end
    for (const count of told.pieces) this.firsts.push(this.firsts[this.firsts.length - 1] + count);
    this.buffer = null; this.eighth = null;
  }
  get sparse() {  // every eighth event, contiguous: drawn during movements
    if (this.eighth) return this.eighth;
    const table = new Uint16Array(4 * Math.ceil(this.length / 8));
    const from = new BigUint64Array(this.table.buffer), to = new BigUint64Array(table.buffer);
    for (let i = 0; i < to.length; i++) to[i] = from[8 * i];
    this.eighth = Object.assign(Object.create(EventSet.prototype), {table, from: this.from, step: this.step, firsts: this.firsts.map(first => Math.ceil(first / 8)), buffer: null});
    return this.eighth;
  }
  firstAt(us) {  // the first event that is not before `us`
    const step = Math.ceil((us - this.from) / this.step), piece = Math.floor(step / PIECE);
    if (step <= 0) return 0;
    if (piece >= this.firsts.length - 1) return this.length;
    let low = this.firsts[piece], high = this.firsts[piece + 1];
    for (const wanted = step - piece * PIECE; low < high;) {
      const middle = (low + high) >> 1;
      if (this.table[4 * middle + 2] < wanted) low = middle + 1; else high = middle;
    }
    return low;
  }
  covers(start, stop) {  // whether it contains the visible part
    const same = this.region === null || S.region && S.region.every((v, i) => v === this.region[i]);
    return same && start >= this.from && stop <= this.to;
  }
  shown([start, stop]) {  // the first event of a window, and the end
    return [S.win >= 1 ? 0 : this.firstAt(start), S.pos >= 1 ? this.length : this.firstAt(stop)];
  }
  * pieces(first, last) {  // [first, last, µs of step 0] of each piece within
    for (let i = 0; i + 1 < this.firsts.length; i++) {
      const a = Math.max(first, this.firsts[i]), b = Math.min(last, this.firsts[i + 1]);
      if (a < b) yield [a, b, this.from + i * PIECE * this.step];
    }
  }
  rate(region, span) {  // events in 240 parts of the time
    const bins = new Float32Array(240), [left, top, right, bottom] = region || [0, 0, PIECE, PIECE];
    for (const [a, b, from] of this.pieces(0, this.length)) {
      const scale = 240 * this.step / (span + 1), base = 240 * from / (span + 1);
      for (let i = 4 * a; i < 4 * b; i += 4) {
        const x = this.table[i], y = this.table[i + 1];
        if (x >= left && x < right && y >= top && y < bottom) bins[Math.min(239, Math.floor(base + scale * this.table[i + 2]))]++;
      }
    }
    return bins;
  }
}

class PixelCounts {  // the number of events of each pixel in the window, updated incrementally
  constructor(width, height) {  // on very large sensors, squares of pixels are counted
    this.shift = Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / 4096)));
    this.width = (width - 1 >> this.shift) + 1; this.height = (height - 1 >> this.shift) + 1;
    this.counts = new Int32Array(this.width * this.height);
    this.set = null; this.first = this.last = 0;
  }
  add(set, first, last, sign) {
    const {table} = set, {counts, width, shift} = this;
    for (let i = 4 * first; i < 4 * last; i += 4) counts[(table[i + 1] >> shift) * width + (table[i] >> shift)] += sign;
  }
  cells([left, top, right, bottom]) { return [left >> this.shift, top >> this.shift, (right - 1 >> this.shift) + 1, (bottom - 1 >> this.shift) + 1]; }
  update(set, first, last) {  // returns whether anything changed
    if (set === this.set && first === this.first && last === this.last) return false;
    if (set !== this.set || first >= this.last || last <= this.first) {
      this.counts.fill(0);
      this.set = set; this.first = this.last = first;
    }
    this.add(set, this.first, first, -1); this.add(set, first, this.first, 1);
    this.add(set, this.last, last, 1); this.add(set, last, this.last, -1);
    this.first = first; this.last = last;
    return true;
  }
  within(region) {  // events of a region
    const [left, top, right, bottom] = this.cells(region);
    let sum = 0;
    if (this.shift) {  // squares may extend beyond it: count events one by one
      for (let i = 4 * this.first; i < 4 * this.last; i += 4) {
        const x = this.set.table[i], y = this.set.table[i + 1];
        if (x >= region[0] && y >= region[1] && x < region[2] && y < region[3]) sum++;
      }
      return sum;
    }
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += this.counts[y * this.width + x];
    return sum;
  }
  most(region) {
    const [left, top, right, bottom] = this.cells(region);
    let most = 1;
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) most = Math.max(most, this.counts[y * this.width + x]);
    return most;
  }
  levels(most, into) {  // 1..255 by the logarithm of the count
    const scale = 254 / Math.max(1e-9, Math.log(most));
    const table = Uint8Array.from({length: Math.min(most, 4095) + 1}, (_, n) => n ? 1 + Math.round(scale * Math.log(n)) : 0);
    const {counts} = this;
    for (let i = 0; i < counts.length; i++) {
      const n = counts[i];
      into[i] = n < table.length ? table[n] : 1 + Math.round(scale * Math.log(Math.min(n, most)));
    }
  }
}

// -- the recordings of this page
class Recording {
  constructor(told, index) {
    this.told = told; this.index = index;
    this.whole = null; this.close = null;  // EventSets; `close` is a part in more detail
    this.counted = null;
    this.levels = null; this.texture = null;
    this.rates = new Float32Array(240);
  }
  get counts() { return this.counted = this.counted || new PixelCounts(this.told.width, this.told.height); }
  get set() {  // what to draw
    const [start, stop] = windowUs(this);
    return this.close && this.close.covers(start, stop) ? this.close : this.whole;
  }
  get region() {  // [left, top, right, bottom] of the pixels that are seen
    const {width, height} = this.told;
    if (!S.region) return [0, 0, width, height];
    const [left, top, right, bottom] = S.region;
    const x = clamp(left, 0, width - 1), y = clamp(top, 0, height - 1);
    return [x, y, clamp(right, x + 1, width), clamp(bottom, y + 1, height)];
  }
  count() {  // brings the counts of pixels up to date
    const set = this.set;
    return set !== null && this.counts.update(set, ...set.shown(windowUs(this)));
  }
}
const CLOUDS = META.clouds.map((told, index) => new Recording(told, index));
const KEPT = () => CLOUDS.reduce((sum, cloud) => sum + (cloud.set ? cloud.set.length : 0), 0);
let SPAN_US = Math.max(1, ...META.clouds.map(told => told.span_us));
const UNLIKE = 5;  // at this ratio of durations the shortest recording would be a line
function ownTimes() {  // whether each recording fills its box: chosen, or because durations differ a lot
  if (CLOUDS.length < 2) return false;
  const spans = CLOUDS.map(({told}) => told.span_us).filter(span => span > 0);
  return S.own === null ? Math.max(...spans) > UNLIKE * Math.min(...spans) : S.own;
}
const spanUs = cloud => ownTimes() ? Math.max(1, cloud.told.span_us) : SPAN_US;
function windowUs(cloud) {
  const span = spanUs(cloud);
  return [S.win >= 1 ? 0 : Math.max(0, S.pos - S.win) * span, S.pos >= 1 ? span : S.pos * span];
}
const boxUs = cloud => { const [start, stop] = windowUs(cloud); return S.fill && stop > start ? [start, stop] : [0, spanUs(cloud)]; };
