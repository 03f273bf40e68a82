// Controls: drawing on demand, the scrubber, playing, keys, touch, buttons.
let pending = false, DRAWN = {count: 0, drawn: 0}, idle = 0, lastFrame = 0;
const request = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
const density = () => Math.min(2, devicePixelRatio || 1);
function draw() {
  pending = false;
  const scale = density(), ctx = $('axes').getContext('2d');
  sized($('axes'), innerWidth, innerHeight, scale); sized($('cloud'), innerWidth, innerHeight, scale);
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, innerWidth, innerHeight);
  countPixels();
  for (const cell of CELLS) drawCell(ctx, cell);
  if (GL) DRAWN = drawPoints(scale);
  drawOver(scale);
  tellThinned();
  drawStrip(); tellClock(); tellKey(); tellNotice(); tellMore();
}
function drawCell(ctx, cell) {
  const [left, top, right, bottom] = cell.area, {told} = cell.cloud;
  ctx.save();
  ctx.beginPath(); ctx.rect(left, top, right - left, bottom - top); ctx.clip();
  drawBox(ctx, cell, camera(cell));
  ctx.restore();
  if (CLOUDS.length > 1) {
    ctx.font = `500 13px ${family()}`;
    const room = cell.rect[2] - cell.rect[0] - 12, fits = text => ctx.measureText(text).width <= room;
    const long = ownTimes() ? `  ·  ${duration(told.span_us, 3)}` : '';
    let name = told.name, words = `${name}  ·  ${events(told.total)}${long}`;
    if (!fits(words)) words = `${name}${long}`;
    if (!fits(words)) words = name;
    while (!fits(words) && name.length > 3) { name = name.slice(0, -1); words = `${name}…`; }
    drawLabel(ctx, [(cell.rect[0] + cell.rect[2]) / 2, cell.rect[1]], [0, 1], 6, words, theme().text, `500 13px ${family()}`);
  }
  if (cell.flat) drawFlatFrame(ctx, cell);
}
function tellThinned() {  // the notice on omitted points has its own place, so that the picture does not move
  const {count, drawn} = DRAWN, thinned = S.moving && drawn < count;
  $('thinned').hidden = !thinned;
  if (thinned) $('thinned').textContent = `1 in ${number(Math.round(count / Math.max(1, drawn)))} events drawn while it moves`;
}
function moving() {  // draw fewer points during a movement: as many as allow 30 frames per second
  const now = performance.now(), took = now - lastFrame;
  if (S.moving && took < 500) S.budget = clamp(S.budget * clamp(33 / took, 0.5, 1.25), 1e5, 8e6);
  lastFrame = now; S.moving = true;
  clearTimeout(idle);
  idle = setTimeout(() => { S.moving = false; request(); atRest(); }, 180);
  request();
}
let drawOver = () => {};  // set by scripts that draw over the points
let tellMore = () => {};  // set by scripts with more text on the current moment
let drawMore = () => {};  // set by scripts with more for the saved picture
let seeCloser = () => {};  // set if the events come from a server: requests the visible part
function atRest() { writeState(); seeCloser(); }

// -- time
const windows = () => clamp(Math.log10(SPAN_US / (100 * Math.max(1, ...CLOUDS.map(({told}) => told.resolution_us)))), 1, 6);  // powers of ten
function setTime(pos) { S.pos = clamp(pos, 0, 1); tellTime(); moving(); }
function setWindow(slide) {
  S.win = slide >= 1 ? 1 : 10 ** (windows() * (Math.max(0, slide) - 1));
  tellTime(); moving();
}
function tellTime() {
  $('time').value = S.pos;
  $('window').value = S.win >= 1 ? 1 : clamp(1 + Math.log10(S.win) / windows(), 0, 1);
  $('length').textContent = S.win >= 1 ? 'all' : ownTimes() ? percent(S.win) : duration(S.win * SPAN_US, 2);
}
const slideOf = () => Number($('window').value);
const stride = () => S.win >= 1 ? 0.01 : Math.max(1e-6, S.win / 4);
function setFill(on) { S.fill = on; tellSwitches(); moving(); }
let playing = false, tickedAt = 0;
function fillSpeeds() {
  const wanted = SPAN_US / 8e6;  // about eight seconds from end to end
  let best = 1;
  $('speed').replaceChildren();
  for (let power = -6; power <= 3; power++) for (const m of [1, 2, 5]) {
    const speed = Number((m * 10 ** power).toPrecision(1)), option = document.createElement('option');
    if (speed > wanted * 60 || speed < wanted / 60) { if (speed !== 1) continue; }
    option.value = speed;
    option.textContent = speed < 1 ? `1/${number(Math.round(1 / speed))}×` : `${number(speed)}×`;
    $('speed').append(option);
    if (Math.abs(Math.log(speed / wanted)) < Math.abs(Math.log(best / wanted)) || best === 1) best = speed;
  }
  $('speed').value = best;
}
function play(on) {
  if (on === playing || !KEPT()) return;
  playing = on; tickedAt = performance.now();
  document.body.classList.toggle('playing', on);
  $('play').setAttribute('aria-label', on ? 'Pause' : 'Play');
  if (on) { if (S.pos >= 1) S.pos = 0; requestAnimationFrame(tick); }
}
function tick(now) {
  if (!playing) return;
  const pos = S.pos + Math.max(0, now - tickedAt) * 1e3 * Number($('speed').value) / SPAN_US;
  tickedAt = now;
  setTime(pos);
  if (pos >= 1) play(false); else requestAnimationFrame(tick);
}

// -- view
function turn(az, el) { S.az += az; S.el = clamp(S.el + el, -90, 90); S.turned = true; moving(); }
function shift(dx, dy) { S.panX += dx / innerHeight; S.panY += dy / innerHeight; S.turned = true; moving(); }
function zoomBy(factor, u, v) {  // keeps the point at (u, v) in place
  const zoom = clamp(S.zoom * factor, 0.08, 8), ratio = S.zoom / zoom;
  if (u !== undefined && CELLS.length) {
    const cam = camera(cellAt(u, v));
    S.panX += (u - cam.cu) * (1 - ratio) / innerHeight; S.panY += (v - cam.cv) * (1 - ratio) / innerHeight;
  }
  S.zoom = zoom; S.turned = true; moving();
}
function setTheme(name) { S.theme = name; document.documentElement.dataset.theme = name; paintPalette(); keyed = ''; request(); atRest(); }
function setColor(name) { S.color = name; keyed = ''; countPixels(); tellKey(); layout(); atRest(); }
function setOwn(on) { S.own = on; keyed = ''; tellSwitches(); tellTime(); countRates(); layout(); moving(); }
function setFlat(on) { S.flat = on; tellSwitches(); layout(); atRest(); }
function setPoints(value) { S.points = value; $('points').value = value; moving(); }
function tellSwitches() {
  $('flat').setAttribute('aria-pressed', S.flat); $('fill').setAttribute('aria-pressed', S.fill);
  $('own').hidden = CLOUDS.length < 2; $('own').setAttribute('aria-pressed', ownTimes());
}
function reset() { play(false); showState(''); }
function showState(text) {
  applyState(text);
  document.documentElement.dataset.theme = S.theme;
  paintPalette(); keyed = '';
  tellTime(); tellSwitches(); tellRegion(); countRates(); $('points').value = S.points;
  layout(); moving();
}
function layout() {  // fit again; a turned view is kept
  document.documentElement.classList.toggle('between', isBetween());
  fitStrip();
  const below = $('head').getBoundingClientRect().bottom;
  document.documentElement.style.setProperty('--key-top', `${Math.round(below + 12)}px`);
  if (S.turned) arrange(); else lookFrom(Object.values(NAMED).includes(S.view) ? S.view : slant());
  placePanels();
  request();
}
const hands = new Map();
function pointers() {
  const cloud = $('cloud');
  cloud.addEventListener('pointerdown', e => {
    hands.set(e.pointerId, [e.clientX, e.clientY]);
    try { cloud.setPointerCapture(e.pointerId); } catch (_) { /* a made-up pointer */ }
    cloud.focus({preventScroll: true});
    const cell = hands.size === 1 && e.button === 0 && flatAt(e.clientX, e.clientY);
    if (!cell) hidePanels();  // the fields of the region stay while one is drawn
    if (cell) startRegion(cell, e.clientX, e.clientY); else if (dragged) { dragged = null; showDragged(); }
  });
  for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) cloud.addEventListener(kind, e => {
    hands.delete(e.pointerId);
    if (dragged && kind === 'pointerup') endRegion(); else if (dragged) { dragged = null; showDragged(); }
  });
  cloud.addEventListener('pointermove', e => {
    const was = hands.get(e.pointerId);
    if (!was) { cloud.style.cursor = flatAt(e.clientX, e.clientY) ? 'crosshair' : ''; return; }
    const now = [e.clientX, e.clientY], dx = now[0] - was[0], dy = now[1] - was[1];
    const other = [...hands].find(([id]) => id !== e.pointerId);
    hands.set(e.pointerId, now);
    if (dragged) dragRegion(...now);
    else if (other) {
      const p = other[1], apart = q => Math.max(8, Math.hypot(q[0] - p[0], q[1] - p[1]));
      shift(dx / 2, dy / 2);
      zoomBy(apart(was) / apart(now), (p[0] + now[0]) / 2, (p[1] + now[1]) / 2);
    } else if (e.shiftKey || e.buttons & 6) shift(dx, dy);
    else turn(dx * 0.32, dy * 0.32);
  });
  cloud.addEventListener('contextmenu', e => e.preventDefault());
  cloud.addEventListener('dblclick', e => { if (flatAt(e.clientX, e.clientY)) setRegion(null); });
  cloud.addEventListener('wheel', e => { e.preventDefault(); zoomBy(Math.exp(clamp(e.deltaMode ? e.deltaY * 20 : e.deltaY, -60, 60) * 0.0022), e.clientX, e.clientY); }, {passive: false});
}
const KEYS = {
  ArrowLeft: () => turn(-4, 0), ArrowRight: () => turn(4, 0), ArrowUp: () => turn(0, 4), ArrowDown: () => turn(0, -4),
  '+': () => zoomBy(0.88), '=': () => zoomBy(0.88), '-': () => zoomBy(1 / 0.88), ' ': () => play(!playing),
  '[': () => setWindow(slideOf() - 0.05), ']': () => setWindow(slideOf() + 0.05),
  ',': () => setTime(S.pos - stride()), '.': () => setTime(S.pos + stride()), f: () => setFill(!S.fill),
  Home: () => setTime(0), End: () => setTime(1),
  p: () => setColor(COLORINGS[(COLORINGS.indexOf(S.color) + 1) % COLORINGS.length]),
  d: () => setTheme(S.theme === 'dark' ? 'light' : 'dark'), v: () => setFlat(!S.flat), t: () => { if (CLOUDS.length > 1) setOwn(!ownTimes()); }, x: () => setRegion(null),
  r: reset, s: () => save(), l: () => copyLink(), '?': () => togglePanel('help', 'keys'),
  1: () => { lookFrom(slant()); moving(); }, 2: () => { lookFrom(FRONT); moving(); }, 3: () => { lookFrom(SIDE); moving(); }, 4: () => { lookFrom(TOP); moving(); },
  Escape: () => { hidePanels(); if (META.served && CLOUDS.length) $('message').hidden = true; }};
function togglePanel(name, button) {
  const open = $(name).hidden;
  hidePanels();
  $(name).hidden = !open; $(button).setAttribute('aria-expanded', open);
  placePanels();
}
function placePanels() {  // the corner where they cover the least of flat views
  const [, top, , bottom] = free(), seen = CELLS.filter(({flat}) => flat).map(({flat}) => flat), bar = $('bar').getBoundingClientRect();
  for (const name of ['region-panel', 'take-panel']) {
    const panel = $(name), {width, height} = panel.getBoundingClientRect();
    const corners = [bar.right - width, bar.left].flatMap(left => [bottom - height - 10, top + 8].map(up => [left, Math.max(top, up)]));
    const over = ([left, up]) => seen.reduce((sum, flat) => sum
      + Math.max(0, Math.min(left + width, flat.right) - Math.max(left, flat.left)) * Math.max(0, Math.min(up + height, flat.bottom) - Math.max(up, flat.top)), 0);
    const [left, up] = corners.reduce((best, corner) => over(corner) < over(best) ? corner : best);
    Object.assign(panel.style, {left: `${Math.round(left)}px`, top: `${Math.round(up)}px`, right: 'auto', bottom: 'auto'});
  }
}
function showMore(open) { $('bar').classList.toggle('more', open); $('more').setAttribute('aria-expanded', open); }  // on low screens
function hidePanels() {
  showMore(false);
  for (const [name, button] of [['help', 'keys'], ['region-panel', 'region'], ['take-panel', 'take']]) { $(name).hidden = true; $(button).setAttribute('aria-expanded', false); }
}
function keyboard() {
  addEventListener('keydown', e => {
    const typing = e.target.tagName === 'INPUT' && e.target.type === 'number';
    const own = typing && e.key !== 'Escape' || /^(INPUT|SELECT)$/.test(e.target.tagName) && /^(Arrow|Home|End| )/.test(e.key) || e.target.tagName === 'BUTTON' && e.key === ' ';
    const act = KEYS[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!act || own || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault(); act();
  });
}
function buttons() {
  const clicks = {play: () => play(!playing), reset, save: () => save(), keys: KEYS['?'], theme: KEYS.d, flat: KEYS.v, fill: KEYS.f, own: KEYS.t, link: KEYS.l,
    more: () => { const open = !$('bar').classList.contains('more'); hidePanels(); showMore(open); },
    region: () => togglePanel('region-panel', 'region'), 'region-all': () => setRegion(null), 'region-clear': () => setRegion(null)};
  for (const [name, act] of Object.entries(clicks)) $(name).onclick = act;
  $('by-flow').hidden = !META.flow;
  for (const name of COLORINGS) $(`by-${name}`).onclick = () => setColor(name);
  $('time').oninput = e => { play(false); setTime(Number(e.target.value)); };
  $('time').onmousemove = e => { const {left, width} = $('time').getBoundingClientRect(); $('time').title = namesAt((e.clientX - left) / width).join(', '); };
  $('window').oninput = e => setWindow(Number(e.target.value));
  $('points').oninput = e => setPoints(Number(e.target.value));
  for (const name of ['x-first', 'x-last', 'y-first', 'y-last']) $(name).onchange = readRegion;
  addEventListener('hashchange', () => { if (location.hash.slice(1) !== stateText()) showState(location.hash); });
}

// -- the start: texts first, then the events, then the picture
const stored = index => $(`data-${index}`);
async function loadStored() {
  for (const cloud of CLOUDS) {
    const raw = await inflate(fromBase64(stored(cloud.index).textContent));
    stored(cloud.index).remove();
    cloud.whole = new EventSet(cloud.told, unpack(raw, cloud.told.kept));
  }
}
let load = loadStored;
async function start() {
  readNames(); fitStrip(); tellFacts(); fillSpeeds(); pointers(); keyboard(); buttons();
  addEventListener('resize', layout);
  const words = new ResizeObserver(layout);  // a longer line of text leaves less room
  for (const name of ['head', 'bar']) words.observe($(name));
  const some = META.served || META.clouds.some(told => told.kept);
  if (!some) say('No events', 'This recording holds no events: there is nothing to draw.');
  else if (typeof DecompressionStream === 'undefined') say('A newer browser is needed', 'This page unpacks its events with DecompressionStream, which browsers have had since 2023.');
  else {
    await load();
    if (!startGL()) say('WebGL2 is not available', 'The points are drawn with WebGL2, which this browser does not have or has switched off. Switch on hardware acceleration, or open the page in a current Firefox, Chrome, Edge or Safari.');
    $('cloud').addEventListener('webglcontextlost', e => { e.preventDefault(); stopGL(); });
    $('cloud').addEventListener('webglcontextrestored', () => { startGL(); request(); });
  }
  tellClock(); showState(location.hash || META.state || '');  // a quick draw first; the full one follows at rest
  requestAnimationFrame(() => { document.documentElement.dataset.ready = 'yes'; });
}
window.dvskit = {state: S, meta: META, png, get drawn() { return DRAWN; }, get playing() { return playing; }, get link() { return stateText(); },
  place: (x, y, us, index = 0) => project(camera(CELLS[index]), CELLS[index].box.at(x, y, us)),
  box: (index = 0) => CELLS[index].box.corners.map(p => project(camera(CELLS[index]), p)),
  flat: (index = 0) => CELLS[index].flat};
