// Tracked objects, on a canvas over the points: their paths through time, boxes and identities at the
// end of the window; more about the path under the pointer.
const REACH = 12;  // px from the pointer to a path
const MOST_IDS = 40;  // more identities at the ends of paths would cover them
let hand = null, under = null;  // the pointer; the place of a path under it: {track, i, apart, cell, place}
const tracksOf = cloud => cloud.told.objects ? cloud.told.objects.tracks : [];
const objectCount = () => CLOUDS.reduce((sum, cloud) => sum + tracksOf(cloud).length, 0);
const objectColor = id => BAND_COLORS[id % BAND_COLORS.length];
function countUntil(times, us) {  // the number of times that are not later
  let low = 0, high = times.length;
  while (low < high) { const middle = (low + high) >> 1; if (times[middle] <= us) low = middle + 1; else high = middle; }
  return low;
}
function placer({box}, cam) {  // from pixels and a time to the screen; null outside the region or behind the camera
  return (x, y, us) => {
    const e = lookAt(cam.turn, box.at(x, y, us));
    return depthOf(cam, e) > NEAR && inRegion(box, x, y) ? screen(cam, e) : null;
  };
}
const inRegion = (box, x, y) => x >= box.left - 0.5 && x < box.right - 0.5 && y >= box.top - 0.5 && y < box.bottom - 0.5;
const flatPlacer = ({box, flat}) => (x, y) => inRegion(box, x, y) ? [flat.left + (x + 0.5 - box.left) * flat.pixel, flat.top + (y + 0.5 - box.top) * flat.pixel] : null;
function drawObjects(scale) {
  const canvas = $('marks');
  under = null;
  canvas.hidden = !S.objects || !objectCount();
  if (canvas.hidden) return;
  sized(canvas, innerWidth, innerHeight, scale);
  const ctx = canvas.getContext('2d');
  ctx.setTransform(scale, 0, 0, scale, 0, 0); ctx.clearRect(0, 0, innerWidth, innerHeight);
  ctx.lineJoin = 'round';
  for (const cell of CELLS) {
    drawTracks(ctx, cell, cell.area, placer(cell, camera(cell)));
    if (cell.flat) drawTracks(ctx, cell, [cell.flat.left, cell.flat.top, cell.flat.right, cell.flat.bottom], flatPlacer(cell));
  }
  if (under) drawUnder(ctx);
}
function drawTracks(ctx, cell, [left, top, right, bottom], place) {
  const [start, stop] = windowUs(cell.cloud), seen = [];
  for (const track of tracksOf(cell.cloud)) {
    const first = countUntil(track.t, start - 1), end = countUntil(track.t, stop);
    if (end > first) seen.push({track, first, end});
  }
  ctx.save();
  ctx.beginPath(); ctx.rect(left, top, right - left, bottom - top); ctx.clip();
  for (const {track, first, end} of seen) {
    const path = [];
    for (let i = first; i < end; i++) path.push(place(track.x[i], track.y[i], track.t[i]));
    drawPath(ctx, path, track.seen.slice(first, end), objectColor(track.id), 1.6);
    if (hand && hand[0] >= left && hand[0] < right && hand[1] >= top && hand[1] < bottom) reachFor(path, {track, first, cell, place});
    const live = end < track.t.length || stop - track.t[end - 1] < 1.5 * cell.cloud.told.objects.step_us;
    if (live) drawObjectBox(ctx, cell, track, end - 1, place);
    if (live || seen.length <= MOST_IDS) drawId(ctx, path[path.length - 1], track.id);
  }
  ctx.restore();
}
function drawPath(ctx, path, seen, color, width) {  // dashed where the object is not seen, on a rim of the ground's color
  for (const [wanted, rim] of [[1, 2], [0, 2], [1, 0], [0, 0]]) {
    ctx.strokeStyle = rim ? theme().ground : color; ctx.lineWidth = width + rim; ctx.globalAlpha = rim ? 0.6 : 1;
    ctx.setLineDash(wanted ? [] : [3, 4]); ctx.beginPath();
    let going = false;  // dashes begin anew at each moveTo
    path.forEach((p, i) => {
      const before = path[i - 1], part = p && before && seen[i] === wanted;
      if (part && !going) ctx.moveTo(...before);
      if (part) ctx.lineTo(...p);
      going = part;
    });
    ctx.stroke();
  }
  ctx.setLineDash([]);
}
function drawObjectBox(ctx, {box}, {id, t, x, y, w, h, seen}, i, place) {  // the part in the region
  const [left, right] = [-1, 1].map(a => clamp(x[i] + a * w[i] / 2, box.left - 0.5, box.right - 0.501));
  const [top, bottom] = [-1, 1].map(a => clamp(y[i] + a * h[i] / 2, box.top - 0.5, box.bottom - 0.501));
  const sides = [[left, top], [right, top], [right, bottom], [left, bottom]].map(corner => place(...corner, t[i]));
  if (!inRegion(box, x[i], y[i]) || !sides.every(Boolean)) return;
  drawPath(ctx, [...sides, sides[0]], Array(5).fill(seen[i]), objectColor(id), 1.6);
}
function drawId(ctx, at, id) {
  if (!at) return;
  ctx.font = `600 12px ${family()}`; ctx.textAlign = 'left'; ctx.textBaseline = 'bottom';
  ctx.strokeStyle = theme().ground; ctx.lineWidth = 3; ctx.fillStyle = objectColor(id);
  ctx.strokeText(id, at[0] + 4, at[1] - 3); ctx.fillText(id, at[0] + 4, at[1] - 3);
}
function reachFor(path, found) {  // remembers the nearest place of a path
  path.forEach((p, i) => {
    const apart = p ? Math.hypot(p[0] - hand[0], p[1] - hand[1]) : Infinity;
    if (apart < (under ? under.apart : REACH)) under = {...found, i: found.first + i, apart, path};
  });
}
function drawUnder(ctx) {
  const {cell, track, i, first, path, place} = under, at = path[i - first];
  drawPath(ctx, path, track.seen.slice(first, first + path.length), objectColor(track.id), 3.5);
  drawObjectBox(ctx, cell, track, i, place);
  const words = objectWords(track, i);
  ctx.font = `500 12px ${family()}`; ctx.textAlign = 'left'; ctx.textBaseline = 'middle';
  const wide = ctx.measureText(words).width + 16, left = clamp(at[0] - wide / 2, 6, innerWidth - wide - 6), top = at[1] > 60 ? at[1] - 40 : at[1] + 18;
  ctx.fillStyle = theme().text; ctx.beginPath(); ctx.roundRect(left, top, wide, 24, 8); ctx.fill();
  ctx.fillStyle = theme().ground; ctx.fillText(words, left + 8, top + 12.5);
}
function objectWords({id, t, w, h, speed, seen}, i) {
  return [`object ${id}`, duration(t[i]), `${number(speed[i])} px/s`, `${Math.round(w[i])}×${Math.round(h[i])} px`, ...seen[i] ? [] : ['not seen']].join(' · ');
}
function pointAt(e) {
  hand = e.type === 'pointerleave' || e.buttons && e.type === 'pointermove' ? null : [e.clientX, e.clientY];
  if (objectCount()) requestAnimationFrame(() => drawObjects(density()));
}
for (const kind of ['pointermove', 'pointerdown', 'pointerleave']) $('cloud').addEventListener(kind, pointAt);
KEYS.o = () => { S.objects = !S.objects; request(); atRest(); };
drawOver = drawObjects;
