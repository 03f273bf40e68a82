// The view as the page's address keeps it, behind #: whoever opens it sees the same.
const ROUND = value => Number(value.toPrecision(6));
function stateText() {
  const parts = [];
  if (S.turned) parts.push(`look=${[S.az, S.el, S.zoom, S.panX, S.panY].map(ROUND).join(',')}`);
  else for (const name in NAMED) if (S.view === NAMED[name]) parts.push(`look=${name}`);
  if (S.pos < 1) parts.push(`at=${ROUND(S.pos)}`);
  if (S.win < 1) parts.push(`window=${ROUND(S.win)}`);
  if (S.fill) parts.push('fill=1');
  if (S.colour !== 'time') parts.push(`colour=${S.colour}`);
  if (S.points) parts.push(`points=${ROUND(S.points)}`);
  if (S.theme !== 'dark') parts.push(`theme=${S.theme}`);
  if (S.flat) parts.push(`flat=1`);
  if (S.own !== null) parts.push(`times=${S.own ? 'own' : 'one'}`);
  if (S.region) parts.push(`region=${S.region.join(',')}`);
  return parts.join('&');
}
function applyState(text) {  // what it does not say is as at the start; what makes no sense is left out
  const told = new Map(text.replace(/^#/, '').split('&').map(part => part.split('=')).filter(pair => pair.length === 2));
  const numbers = name => (told.get(name) || '').split(',').map(Number);
  const one = (name, otherwise, low, high) => { const [value] = numbers(name); return told.has(name) && Number.isFinite(value) ? clamp(value, low, high) : otherwise; };
  S.pos = one('at', 1, 0, 1); S.win = one('window', 1, 1e-9, 1); S.fill = told.get('fill') === '1';
  S.points = one('points', 0, -1, 1); S.flat = told.get('flat') === '1'; S.own = {own: true, one: false}[told.get('times')] ?? null;
  S.colour = COLOURINGS.includes(told.get('colour')) ? told.get('colour') : 'time';
  S.theme = told.get('theme') === 'light' ? 'light' : 'dark';
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
  // Where the page is part of another (a notebook), its address cannot be written.
  try { history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search); } catch (_) { /* stays */ }
}
async function copyLink() {
  writeState();
  const text = location.href.split('#')[0] + (stateText() ? `#${stateText()}` : '');
  try { await navigator.clipboard.writeText(text); tell('The address of this view is copied.'); } catch (_) { prompt('The address of this view:', text); }
}
let toast = 0;
function tell(text) {  // a word that goes away
  $('toast').textContent = text; $('toast').hidden = false;
  clearTimeout(toast); toast = setTimeout(() => { $('toast').hidden = true; }, 2500);
}

// -- saving: box, points and words on one canvas.
async function png() {
  S.moving = false; draw();  // the drawing buffer is only sure to be there within this task
  const out = document.createElement('canvas'), scale = density(), colours = theme();
  const below = Math.round(Math.max(200, $('bar').getBoundingClientRect().top) * scale);  // the controls stay out
  out.width = $('axes').width; out.height = Math.min($('axes').height, below);
  const ctx = out.getContext('2d');
  ctx.fillStyle = colours.ground; ctx.fillRect(0, 0, out.width, out.height);
  ctx.drawImage($('axes'), 0, 0); ctx.drawImage($('cloud'), 0, 0);
  ctx.scale(scale, scale); ctx.textBaseline = 'top';
  const word = (text, x, y, colour, font) => { ctx.fillStyle = colour; ctx.font = `${font} ${family()}`; ctx.fillText(text, x, y); };
  const head = $('head').getBoundingClientRect();
  word(META.title, head.left, head.top + 2, colours.text, '600 20px');
  word($('facts').textContent, head.left, head.top + 30, colours.faint, '13px');
  let line = 51;
  for (const [name, colour] of [['notice', colours.on], ['region-told', colours.text]]) {
    if ($(name).hidden) continue;
    word((name === 'notice' ? $(name) : $('region-words')).textContent, head.left, head.top + line, colour, '13px');
    line += 21;
  }
  drawKey(ctx, word);
  return new Promise(resolve => out.toBlob(resolve, 'image/png'));
}
function drawKey(ctx, word) {
  const {left, top, width} = $('key').getBoundingClientRect(), {dots, stops, ends} = keyOf(), colours = theme();
  if (dots) {
    dots.forEach(([name, colour], i) => {
      ctx.fillStyle = colour; ctx.beginPath(); ctx.arc(left + 6 + 62 * i, top + 8, 4.5, 0, 7); ctx.fill();
      word(name, left + 17 + 62 * i, top + 2, colours.text, '13px');
    });
    return;
  }
  const fill = ctx.createLinearGradient(left, 0, left + width, 0);
  stops.forEach((c, i) => fill.addColorStop(i / (stops.length - 1), c));
  ctx.fillStyle = fill; ctx.fillRect(left, top, width, 8);
  ['left', 'center', 'right'].forEach((side, i) => { ctx.textAlign = side; word(ends[i], left + width * i / 2, top + 14, colours.faint, '12px'); });
}
async function save() {
  const link = document.createElement('a'), url = URL.createObjectURL(await png());
  link.href = url; link.download = `${META.title.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'cloud'}.png`;
  link.click(); setTimeout(() => URL.revokeObjectURL(url), 1e4);
}
