// The strip below: the event rate of each recording, its labels and decisions; the scrubber lies
// over it.
const RATE_ROW = CLOUDS.length > 1 ? 26 : 40;
const allBands = () => CLOUDS.flatMap(({told}) => bandRows(told));
const timesRow = () => isLying() ? 0 : 14;  // the names of times below
function fitStrip() { $('line').style.height = `${CLOUDS.length * RATE_ROW + allBands().length * BAND + timesRow()}px`; }
function countRates() {
  for (const cloud of CLOUDS) if (cloud.whole) {
    const given = !S.region && cloud.told.rate;
    cloud.rates = given ? alongSpan(cloud) : cloud.whole.rate(S.region && cloud.region, spanUs(cloud));
  }
}
function alongSpan(cloud) {  // a recording's own 240 parts, in those of the time that is shown
  const {rate, span_us} = cloud.told, span = spanUs(cloud), rates = new Float32Array(240);
  rate.forEach((count, i) => { rates[Math.min(239, Math.floor((i + 0.5) * span_us / span))] += count; });
  return rates;
}
function sized(canvas, w, h, scale) {
  const W = Math.round(w * scale), H = Math.round(h * scale);
  if (canvas.width !== W || canvas.height !== H) { canvas.width = W; canvas.height = H; }
}
function drawStrip() {
  const canvas = $('rate'), w = canvas.clientWidth, h = canvas.clientHeight, scale = density();
  if (!w) return;
  sized(canvas, w, h, scale);
  const ctx = canvas.getContext('2d'), colours = theme();
  ctx.setTransform(scale, 0, 0, scale, 0, 0); ctx.clearRect(0, 0, w, h);
  const most = CLOUDS.map(({rates}) => rates.reduce((a, b) => Math.max(a, b), 1)), from = S.win >= 1 ? 0 : Math.max(0, S.pos - S.win);
  let top = 0;
  CLOUDS.forEach((cloud, i) => {
    drawRates(ctx, cloud.rates, most[i], w, top, from);
    drawPeak(ctx, cloud, w, top);
    top += RATE_ROW;
    for (const row of bandRows(cloud.told)) { drawRow(ctx, row, spanUs(cloud), w, top); top += BAND; }
  });
  if (timesRow()) drawTimes(ctx, w, top);
  ctx.globalAlpha = 1; ctx.fillStyle = colours.text;
  const at = clamp(S.pos * w, 1.5, w - 1.5);
  ctx.fillRect(at - 0.75, 2, 1.5, h - 4 - timesRow());
  ctx.beginPath(); ctx.arc(at, 4, 3.5, 0, 7); ctx.fill();
}
function drawTimes(ctx, w, top) {  // below the rows: times, or shares of them where each recording has its own
  const [unit, length] = ownTimes() ? ['%', SPAN_US / 100] : unitOf(SPAN_US), colours = theme(), font = `10px ${family()}`;
  const axis = {start: 0, stop: SPAN_US / length, whole: false}, marks = ticks(axis, Math.min(8, w / 70));
  ctx.globalAlpha = 1; ctx.font = font;
  marks.forEach(([value, text], i) => {
    const at = value / axis.stop * w, words = i === marks.length - 1 ? `${text} ${unit}` : text, wide = ctx.measureText(words).width;
    strokeLines(ctx, [[[clamp(at, 0.5, w - 0.5), top - 1], [clamp(at, 0.5, w - 0.5), top + 2]]], colours.line);
    drawLabel(ctx, [clamp(at, wide / 2, w - wide / 2), top], [0, 1], 4, words, colours.faint, font);
  });
}
function drawRates(ctx, rates, most, w, top, from) {  // the window in colour, the rest faint
  const colours = theme(), fill = ctx.createLinearGradient(0, 0, w, 0), step = w / rates.length, base = top + RATE_ROW - 2;
  colours.stops.forEach((c, i) => fill.addColorStop(i / (colours.stops.length - 1), c));
  ctx.fillStyle = S.colour === 'time' && !S.fill ? fill : colours.faint;
  rates.forEach((count, i) => {
    const middle = (i + 0.5) / rates.length, tall = count ? Math.max(2, count / most * (RATE_ROW - 8)) : 1;
    ctx.globalAlpha = middle >= from - 0.003 && middle <= S.pos + 0.003 ? 1 : 0.22;
    ctx.fillRect(i * step, base - tall, step < 2.5 ? step : step - 0.8, tall);
  });
  ctx.globalAlpha = 1;
}
function peakOf(cloud) {  // events a second where there are most, those left out included
  const {told, whole, rates} = cloud, every = !S.region && told.rate || !whole ? 1 : whole.every;
  return Math.max(...rates) * every * rates.length * 1e6 / spanUs(cloud);
}
function drawPeak(ctx, cloud, w, top) {  // how high the highest bar is: each row has its own scale
  const text = `peak ${perSecond(peakOf(cloud))}`, {rates} = cloud, colours = theme();
  ctx.font = `10px ${family()}`; ctx.textBaseline = 'middle';
  const wide = ctx.measureText(text).width + 6, bars = Math.ceil(wide / w * rates.length);
  const left = Math.max(...rates.slice(0, bars)) < Math.max(...rates.slice(-bars));  // where the bars are lower
  const start = left ? 0 : w - wide - 6;  // beside the mark of the time
  ctx.globalAlpha = 0.75; ctx.fillStyle = colours.ground; ctx.fillRect(start, top + 1, wide, 12);
  ctx.globalAlpha = 1; ctx.fillStyle = colours.faint; ctx.textAlign = 'left';
  ctx.fillText(text, start + 3, top + 7.5);
}
function drawRow(ctx, row, span, w, top) {
  ctx.font = `600 10.5px ${family()}`; ctx.textAlign = 'center'; ctx.textBaseline = 'middle';
  for (const [start, stop, name] of row) {
    const left = start / span * w, right = Math.min(w, stop / span * w);
    ctx.fillStyle = bandColour(name); ctx.fillRect(left, top + 1, Math.max(1, right - left - 1), BAND - 3);
    ctx.fillStyle = '#14151c';
    if (ctx.measureText(name).width + 6 < right - left) ctx.fillText(name, (left + right) / 2, top + BAND / 2);
  }
}
function namesAt(pos) {  // the labels and decisions of a moment, a share of the time
  return CLOUDS.flatMap(cloud => {
    const us = Math.min(pos * spanUs(cloud), spanUs(cloud) - 1);
    return bandRows(cloud.told).flatMap(row => row.filter(([start, stop]) => us >= start && us < stop).map(([, , name]) => name));
  });
}
