// The flat view: what the sensor sees in the window, beside the cloud; a region is chosen on it.
let dragged = null;  // a region being drawn: {cell, from: [x, y], to: [x, y]} in pixels of the sensor
function drawFlatFrame(ctx, {cloud, box, flat, rect}) {
  const colours = theme(), {axes} = box, font = `11px ${family()}`;
  const {left, top, right, bottom} = flat;
  strokeLines(ctx, [[[left, top], [right, top]], [[right, top], [right, bottom]], [[right, bottom], [left, bottom]], [[left, bottom], [left, top]]].map(line => line.map(([u, v]) => [Math.round(u) + 0.5, Math.round(v) + 0.5])), colours.line);
  const [start, stop] = windowUs(cloud);
  const words = S.win >= 1 && S.pos >= 1 ? right - left > 200 ? 'all events, the latest on top' : 'all events' : duration(stop - start, 3);
  drawLabel(ctx, [(left + right) / 2, top], [0, -1], 7, words, colours.text, `500 12px ${family()}`);
  for (const [value, text] of ticks(axes[2], Math.min(8, (right - left) / 52))) {
    const u = left + (value - box.left) * flat.pixel;
    strokeLines(ctx, [[[u, bottom], [u, bottom + 4]]], colours.line);
    drawLabel(ctx, [u, bottom], [0, 1], 7, text, colours.faint, font);
  }
  for (const [value, text] of ticks(axes[1], Math.min(8, (bottom - top) / 36))) {
    const v = top + (value - box.top) * flat.pixel;
    strokeLines(ctx, [[[left - 4, v], [left, v]]], colours.line);
    drawLabel(ctx, [left, v], [-1, 0], 7, text, colours.faint, font);
  }
  if (bottom + 36 < rect[3] + 4) drawLabel(ctx, [(left + right) / 2, bottom], [0, 1], 22, 'x, y (px)', colours.faint, font);
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
function flatAt(u, v) {  // the cell whose flat view is there
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
