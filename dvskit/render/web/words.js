// The text above the picture, the clock, the color key; the strip; addresses and saving.
const percent = share => `${Number((100 * share).toPrecision(3))} %`;
function tellFacts() {
  if (!CLOUDS.length) return;
  const [told] = META.clouds, alone = CLOUDS.length === 1;
  const total = META.clouds.reduce((sum, each) => sum + each.total, 0), kept = META.clouds.reduce((sum, each) => sum + each.kept, 0);
  const facts = [events(total), (alone ? '' : 'up to ') + duration(SPAN_US > 1 ? SPAN_US : told.span_us)];
  if (alone) facts.push(`${told.width}×${told.height} px`);
  if (objectCount()) facts.push(`${number(objectCount())} object${objectCount() === 1 ? '' : 's'}`);
  for (const each of document.querySelectorAll('.of-objects')) each.hidden = !objectCount();
  const coarse = Math.max(...META.clouds.map(each => each.resolution_us));
  if (kept) facts.push(`times to ${duration(coarse, 2)}`);
  $('facts').textContent = facts.map(text => text.replace(/ /g, '\u00a0')).join(' · ');
  $('facts').title = alone && kept ? `0 is t = ${told.start} µs in the recording` : '';
  tellNotice();
}
function tellNotice() {
  const damaged = CLOUDS.filter(({told}) => told.damage).map(({told}) => `${CLOUDS.length > 1 ? `${told.name}: ` : ''}${told.damage}`);
  const thinned = CLOUDS.filter(({told, set}) => (set ? set.every : told.every) > 1);
  $('notice').hidden = !thinned.length && !damaged.length;
  $('notice').textContent = [...damaged, ...thinned.map(({told, set}) => {
    const every = set ? set.every : told.every, which = CLOUDS.length > 1 ? `${told.name}: ` : '';
    return `${which}1 in ${number(every)} events shown` + (META.served ? '' : `: ${number(told.kept)} of ${number(told.total)}`);
  })].join('; ');
}
let told = '';
function tellClock() {
  const start = S.win >= 1 ? 0 : Math.max(0, S.pos - S.win) * SPAN_US, stop = S.pos * SPAN_US, [unit, length] = unitOf(SPAN_US);
  const least = Math.max(1, (stop - start) / 1000), places = clamp(Math.ceil(Math.log10(length / least)), 0, Math.round(Math.log10(length)));
  const count = S.region ? CLOUDS.reduce((sum, cloud) => sum + cloud.counts.within(cloud.region), 0) : DRAWN.count;
  const names = namesAt(S.pos).join(', ');
  const times = ownTimes() ? [start, stop].map(us => percent(us / SPAN_US)).join(' – ') : `${[start, stop].map(us => decimals(us / length, Math.min(places, 3))).join(' – ')} ${unit}`;
  const words = [times, events(count) + (names ? ` · ${names}` : '')];
  if (words.join('|') === told) return;
  told = words.join('|');
  const small = document.createElement('small');
  small.textContent = words[1];
  $('clock').replaceChildren(words[0], small);
}
function element(parent, name, style, text, kind) {
  const made = document.createElement(name);
  Object.assign(made.style, style);
  if (kind) made.className = kind;
  if (text) made.append(text);
  parent.append(made);
  return made;
}
function keyOf() {  // the color key: a ramp with labels, dots, or a wheel
  const colors = theme(), own = ownTimes(), [start, stop] = CLOUDS.length && !own ? boxUs(CLOUDS[0]) : [0, SPAN_US];
  if (S.color === 'polarity') return {dots: [['ON', colors.on], ['OFF', colors.off]]};
  if (S.color === 'flow') return {wheel: META.flow.palettes[S.theme], rim: META.flow.rim};
  if (S.color === 'count') return {stops: colors.count_stops, ends: ['1', 'events in the pixel', number(MOST)]};
  if (own) return {stops: colors.stops, ends: ['start', 'early → late', 'end']};
  const all = !S.fill || stop - start >= SPAN_US, [unit, length] = unitOf(stop - start);
  const ends = all ? ['0', duration(SPAN_US)] : [start, stop].map(us => `${decimals(us / length, 1)} ${unit}`);
  return {stops: colors.stops, ends: [ends[0], all ? 'early → late' : '→', ends[1]]};
}
const WHEEL = 64;
function wheelOf(palette) {  // a disc of all velocities: its rim has the speed of full color
  const canvas = document.createElement('canvas'), side = 2 * WHEEL, {hues, steps} = META.flow;
  canvas.width = canvas.height = side;
  const ctx = canvas.getContext('2d'), image = ctx.createImageData(side, side), middle = (side - 1) / 2;
  for (let i = 0; i < side * side; i++) {
    const x = (i % side) / middle - 1, y = Math.floor(i / side) / middle - 1, share = Math.hypot(x, y);
    if (share > 1) continue;
    const hue = (Math.round(Math.atan2(y, x) * hues / (2 * Math.PI)) + hues) % hues;
    image.data.set([...bytes(palette[1 + hue * steps + Math.round(share * (steps - 1))]), 255], 4 * i);
  }
  ctx.putImageData(image, 0, 0);
  return canvas;
}
let keyed = '';
function tellKey() {
  const {dots, stops, ends, wheel, rim} = keyOf(), key = $('key'), all = JSON.stringify([dots, stops, ends, wheel]);
  if (all === keyed) return;
  keyed = all;
  key.replaceChildren();
  if (dots) {
    const row = element(key, 'div', {}, '', 'dots');
    for (const [name, color] of dots) { const item = element(row, 'span', {}); element(item, 'i', {background: color}); item.append(name); }
  } else if (wheel) {
    const row = element(key, 'div', {}, '', 'wheel'), words = element(row, 'div', {}, `rim ${rim}`);
    element(element(words, 'div', {}), 'i', {background: wheel[0]}); words.lastChild.append('unknown');
    row.append(wheelOf(wheel));
  } else {
    element(key, 'div', {background: `linear-gradient(90deg, ${stops.join(',')})`}, '', 'ramp');
    const row = element(key, 'div', {}, '', 'ends');
    for (const text of ends) element(row, 'span', {}, text);
  }
  for (const name of COLORINGS) $(`by-${name}`).setAttribute('aria-pressed', S.color === name);
}
function say(title, text) {
  const bold = document.createElement('b'), rest = document.createElement('span');
  bold.textContent = title; rest.textContent = text;
  $('message').replaceChildren(bold, rest); $('message').hidden = false;
}

// -- the strip below: the event rate of each recording, its labels and decisions; the scrubber lies
// over it.
const RATE_ROW = CLOUDS.length > 1 ? 26 : 40;
const allBands = () => CLOUDS.flatMap(({told}) => bandRows(told));
const timesRow = () => isLying() ? 0 : 14;  // the labels of times below
function fitStrip() { $('line').style.height = `${CLOUDS.length * RATE_ROW + allBands().length * BAND + timesRow()}px`; }
function countRates() {
  for (const cloud of CLOUDS) if (cloud.whole) {
    cloud.rates = cloud.whole.rate(S.region && cloud.region, spanUs(cloud));
  }
}
function sized(canvas, w, h, scale) {
  const W = Math.round(w * scale), H = Math.round(h * scale);
  if (canvas.width !== W || canvas.height !== H) { canvas.width = W; canvas.height = H; }
}
function drawStrip() {
  const canvas = $('rate'), w = canvas.clientWidth, h = canvas.clientHeight, scale = density();
  if (!w) return;
  sized(canvas, w, h, scale);
  const ctx = canvas.getContext('2d'), colors = theme();
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
  ctx.globalAlpha = 1; ctx.fillStyle = colors.text;
  const at = clamp(S.pos * w, 1.5, w - 1.5);
  ctx.fillRect(at - 0.75, 2, 1.5, h - 4 - timesRow());
  ctx.beginPath(); ctx.arc(at, 4, 3.5, 0, 7); ctx.fill();
}
function drawTimes(ctx, w, top) {  // below the rows: times, or shares if each recording has its own
  const [unit, length] = ownTimes() ? ['%', SPAN_US / 100] : unitOf(SPAN_US), colors = theme(), font = `10px ${family()}`;
  const axis = {start: 0, stop: SPAN_US / length, whole: false}, marks = ticks(axis, Math.min(8, w / 70));
  ctx.globalAlpha = 1; ctx.font = font;
  marks.forEach(([value, text], i) => {
    const at = value / axis.stop * w, words = i === marks.length - 1 ? `${text} ${unit}` : text, wide = ctx.measureText(words).width;
    strokeLines(ctx, [[[clamp(at, 0.5, w - 0.5), top - 1], [clamp(at, 0.5, w - 0.5), top + 2]]], colors.line);
    drawLabel(ctx, [clamp(at, wide / 2, w - wide / 2), top], [0, 1], 4, words, colors.faint, font);
  });
}
function drawRates(ctx, rates, most, w, top, from) {  // the window in color, the rest faint
  const colors = theme(), fill = ctx.createLinearGradient(0, 0, w, 0), step = w / rates.length, base = top + RATE_ROW - 2;
  colors.stops.forEach((c, i) => fill.addColorStop(i / (colors.stops.length - 1), c));
  ctx.fillStyle = S.color === 'time' && !S.fill ? fill : colors.faint;
  rates.forEach((count, i) => {
    const middle = (i + 0.5) / rates.length, tall = count ? Math.max(2, count / most * (RATE_ROW - 8)) : 1;
    ctx.globalAlpha = middle >= from - 0.003 && middle <= S.pos + 0.003 ? 1 : 0.22;
    ctx.fillRect(i * step, base - tall, step < 2.5 ? step : step - 0.8, tall);
  });
  ctx.globalAlpha = 1;
}
function peakOf(cloud) {  // the highest rate in events per second, omitted events included
  const {whole, rates} = cloud, every = whole ? whole.every : 1;
  return Math.max(...rates) * every * rates.length * 1e6 / spanUs(cloud);
}
function drawPeak(ctx, cloud, w, top) {  // the height of the highest bar: each row has its own scale
  const text = `peak ${perSecond(peakOf(cloud))}`, {rates} = cloud, colors = theme();
  ctx.font = `10px ${family()}`; ctx.textBaseline = 'middle';
  const wide = ctx.measureText(text).width + 6, bars = Math.ceil(wide / w * rates.length);
  const left = Math.max(...rates.slice(0, bars)) < Math.max(...rates.slice(-bars));  // where the bars are lower
  const start = left ? 0 : w - wide - 6;  // beside the mark of the time
  ctx.globalAlpha = 0.75; ctx.fillStyle = colors.ground; ctx.fillRect(start, top + 1, wide, 12);
  ctx.globalAlpha = 1; ctx.fillStyle = colors.faint; ctx.textAlign = 'left';
  ctx.fillText(text, start + 3, top + 7.5);
}
function drawRow(ctx, row, span, w, top) {
  ctx.font = `600 10.5px ${family()}`; ctx.textAlign = 'center'; ctx.textBaseline = 'middle';
  for (const [start, stop, name] of row) {
    const left = start / span * w, right = Math.min(w, stop / span * w);
    ctx.fillStyle = bandColor(name); ctx.fillRect(left, top + 1, Math.max(1, right - left - 1), BAND - 3);
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

// -- the view as stored in the page's address, after #
const ROUND = value => Number(value.toPrecision(6));
function stateText() {
  const parts = [];
  if (S.turned) parts.push(`look=${[S.az, S.el, S.zoom, S.panX, S.panY].map(ROUND).join(',')}`);
  else for (const name in NAMED) if (S.view === NAMED[name]) parts.push(`look=${name}`);
  if (S.pos < 1) parts.push(`at=${ROUND(S.pos)}`);
  if (S.win < 1) parts.push(`window=${ROUND(S.win)}`);
  if (S.fill) parts.push('fill=1');
  if (S.color !== 'time') parts.push(`color=${S.color}`);
  if (S.points) parts.push(`points=${ROUND(S.points)}`);
  if (S.theme !== 'dark') parts.push(`theme=${S.theme}`);
  if (S.flat) parts.push(`flat=1`);
  if (S.own !== null) parts.push(`times=${S.own ? 'own' : 'one'}`);
  if (!S.objects) parts.push('objects=0');
  if (S.region) parts.push(`region=${S.region.join(',')}`);
  return parts.join('&');
}
function applyState(text) {  // missing parts keep their defaults; invalid parts are ignored
  const told = new Map(text.replace(/^#/, '').split('&').map(part => part.split('=')).filter(pair => pair.length === 2));
  const numbers = name => (told.get(name) || '').split(',').map(Number);
  const one = (name, otherwise, low, high) => { const [value] = numbers(name); return told.has(name) && Number.isFinite(value) ? clamp(value, low, high) : otherwise; };
  S.pos = one('at', 1, 0, 1); S.win = one('window', 1, 1e-9, 1); S.fill = told.get('fill') === '1';
  S.points = one('points', 0, -1, 1); S.flat = told.get('flat') === '1'; S.own = {own: true, one: false}[told.get('times')] ?? null;
  S.color = COLORINGS.includes(told.get('color')) ? told.get('color') : 'time';
  S.theme = told.get('theme') === 'light' ? 'light' : 'dark';
  S.objects = told.get('objects') !== '0';
  const region = numbers('region');
  S.region = region.length === 4 && region.every(Number.isInteger) ? region : null;
  const look = told.get('look') || '', [az, el, zoom, panX, panY] = look.split(',').map(Number);
  Object.assign(S, {turned: false, zoom: 1, panX: 0, panY: 0, view: Object.hasOwn(NAMED, look) ? NAMED[look] : SLANT});
  [S.az, S.el] = S.view;
  if ([az, el, zoom, panX, panY].every(Number.isFinite)) Object.assign(S, {az, el: clamp(el, -90, 90), zoom: clamp(zoom, 0.08, 8), panX, panY, turned: true});
}
function writeState() {
  const text = stateText();
  if (location.hash.slice(1) === text) return;
  // In a notebook's frame the address cannot be changed.
  try { history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search); } catch (_) { /* stays */ }
}
async function copyLink() {
  writeState();
  const text = location.href.split('#')[0] + (stateText() ? `#${stateText()}` : '');
  try { await navigator.clipboard.writeText(text); tell('The address of this view is copied.'); } catch (_) { prompt('The address of this view:', text); }
}
let toast = 0;
function tell(text) {  // a message that disappears
  $('toast').textContent = text; $('toast').hidden = false;
  clearTimeout(toast); toast = setTimeout(() => { $('toast').hidden = true; }, 2500);
}

// -- saving: box, points and words on one canvas.
async function png() {
  S.moving = false; draw();  // the drawing buffer is only valid within this task
  const out = document.createElement('canvas'), scale = density(), colors = theme();
  const below = Math.round(Math.max(200, $('bar').getBoundingClientRect().top) * scale);  // without the controls
  out.width = $('axes').width; out.height = Math.min($('axes').height, below);
  const ctx = out.getContext('2d');
  ctx.fillStyle = colors.ground; ctx.fillRect(0, 0, out.width, out.height);
  ctx.drawImage($('axes'), 0, 0); ctx.drawImage($('cloud'), 0, 0);
  if (!$('marks').hidden) ctx.drawImage($('marks'), 0, 0);
  ctx.scale(scale, scale); ctx.textBaseline = 'top';
  const word = (text, x, y, color, font) => { ctx.fillStyle = color; ctx.font = `${font} ${family()}`; ctx.fillText(text, x, y); };
  const head = $('head').getBoundingClientRect();
  word(META.title, head.left, head.top + 2, colors.text, '600 20px');
  word($('facts').textContent, head.left, head.top + 30, colors.faint, '13px');
  let line = 51;
  for (const [name, color] of [['notice', colors.on], ['region-told', colors.text]]) {
    if ($(name).hidden) continue;
    word((name === 'notice' ? $(name) : $('region-words')).textContent, head.left, head.top + line, color, '13px');
    line += 21;
  }
  drawKey(ctx, word); drawMore(ctx);
  return new Promise(resolve => out.toBlob(resolve, 'image/png'));
}
function drawKey(ctx, word) {
  const {left, top, width} = $('key').getBoundingClientRect(), {dots, stops, ends, wheel, rim} = keyOf(), colors = theme();
  if (wheel) {
    const disc = $('key').querySelector('canvas').getBoundingClientRect(), words = $('key').querySelector('.wheel div').getBoundingClientRect();
    ctx.drawImage(wheelOf(wheel), disc.left, disc.top, WHEEL, WHEEL);
    word(`rim ${rim}`, words.left, words.top + 2, colors.faint, '12px');
    ctx.fillStyle = wheel[0]; ctx.beginPath(); ctx.arc(words.left + 5, words.top + 26, 4.5, 0, 7); ctx.fill();
    word('unknown', words.left + 16, words.top + 19, colors.faint, '12px');
    return;
  }
  if (dots) {
    dots.forEach(([name, color], i) => {
      ctx.fillStyle = color; ctx.beginPath(); ctx.arc(left + 6 + 62 * i, top + 8, 4.5, 0, 7); ctx.fill();
      word(name, left + 17 + 62 * i, top + 2, colors.text, '13px');
    });
    return;
  }
  const fill = ctx.createLinearGradient(left, 0, left + width, 0);
  stops.forEach((c, i) => fill.addColorStop(i / (stops.length - 1), c));
  ctx.fillStyle = fill; ctx.fillRect(left, top, width, 8);
  ['left', 'center', 'right'].forEach((side, i) => { ctx.textAlign = side; word(ends[i], left + width * i / 2, top + 14, colors.faint, '12px'); });
}
async function save() {
  const link = document.createElement('a'), url = URL.createObjectURL(await png());
  link.href = url; link.download = `${META.title.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'cloud'}.png`;
  link.click(); setTimeout(() => URL.revokeObjectURL(url), 1e4);
}
