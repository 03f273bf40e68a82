'use strict';
// What all parts of the page share: what the page tells, what is looked at, numbers in words.
const $ = id => document.getElementById(id);
const META = JSON.parse($('meta').textContent);
const DEG = Math.PI / 180;
const SLANT = [48, 24], FRONT = [90, 0], SIDE = [0, 0], TOP = [0, 90], UPRIGHT = [64, 36];
const NAMED = {front: FRONT, side: SIDE, top: TOP};  // views along an axis, as addresses tell them
const S = {
  az: 0, el: 0, view: SLANT, zoom: 1, panX: 0, panY: 0, turned: false,  // the camera
  pos: 1, win: 1, fill: false,  // the window's end and length, shares of the time; fills the box
  colour: 'time', points: 0, theme: 'dark', flat: false, own: null, region: null,  // [left, top, right, bottom]
  moving: false, budget: 5e5,
};
const COLOURINGS = ['time', 'polarity', 'count'];
const theme = () => META.themes[S.theme];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const bytes = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
function mixed(stops, at) {  // the colour at `at` in 0..1 through evenly spaced stops, three numbers
  const place = at * (stops.length - 1), k = clamp(Math.floor(place), 0, stops.length - 2);
  return [0, 1, 2].map(c => Math.round(stops[k][c] + (stops[k + 1][c] - stops[k][c]) * (place - k)));
}

// -- numbers in words
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
