// What people touch: drawing on demand, the scrubber, playing, keys, fingers, saving.
let pending = false, DRAWN = {count: 0, drawn: 0}, idle = 0, lastFrame = 0;
const request = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
function sized(canvas, w, h, scale) {
  const W = Math.round(w * scale), H = Math.round(h * scale);
  if (canvas.width !== W || canvas.height !== H) { canvas.width = W; canvas.height = H; }
}
const density = () => Math.min(2, devicePixelRatio || 1);
function draw() {
  pending = false;
  const scale = density(), cam = camera(), ctx = $('axes').getContext('2d');
  sized($('axes'), innerWidth, innerHeight, scale); sized($('cloud'), innerWidth, innerHeight, scale);
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, innerWidth, innerHeight);
  drawBox(ctx, cam);
  if (GL) DRAWN = drawPoints(cam, scale);
  drawRate(); tellClock();
}
function moving() {  // draw fewer points until the hand rests; as many as keep 20 frames a second
  const now = performance.now(), took = now - lastFrame;
  if (S.moving && took < 500) S.budget = Math.max(1.5e5, Math.min(8e6, S.budget * (took > 60 ? 0.8 : took < 25 ? 1.15 : 1)));
  lastFrame = now; S.moving = true;
  clearTimeout(idle);
  idle = setTimeout(() => { S.moving = false; request(); }, 180);
  request();
}

// -- words
const number = n => n.toLocaleString('en');
function duration(us, digits = 4) {
  const [name, length] = UNITS.find(u => Math.abs(us) < u[2]);
  return `${Number((us / length).toPrecision(digits)).toLocaleString('en', {maximumFractionDigits: 6})} ${name}`;
}
const inUnit = us => (us / UNIT_US).toLocaleString('en', {minimumFractionDigits: PLACES, maximumFractionDigits: PLACES});
const PLACES = META.span_us / UNIT_US < 20 ? 3 : META.span_us / UNIT_US < 200 ? 2 : 1;
function tellFacts() {
  $('facts').textContent = [`${number(META.total)} event${META.total === 1 ? '' : 's'}`, duration(META.span_us), `${META.width}×${META.height} px`, ...(META.kept ? [`times to ${duration(META.resolution_us, 2)}`] : [])].map(text => text.replace(/ /g, '\u00a0')).join(' · ');
  $('facts').title = META.kept ? `0 is t = ${META.start} µs in the recording` : '';
  $('notice').hidden = META.every === 1;
  $('notice').textContent = META.every === 1 ? '' : `1 in ${number(META.every)} events shown: ${number(META.kept)} of ${number(META.total)}`;
}
let told = '';
function tellClock() {
  const stop = S.pos * META.span_us, start = S.win >= 1 ? 0 : Math.max(0, S.pos - S.win) * META.span_us;
  const text = `${inUnit(start)} – ${inUnit(stop)} ${UNIT}|${number(DRAWN.count)} event${DRAWN.count === 1 ? '' : 's'}`;
  if (text === told) return;
  told = text;
  const [time, count] = text.split('|'), small = document.createElement('small');
  small.textContent = count;
  $('clock').replaceChildren(time, small);
}
function tellKey() {
  const colours = theme(), key = $('key');
  key.replaceChildren(); key.hidden = !META.kept;
  const add = (parent, name, style, text) => { const el = document.createElement(name); Object.assign(el.style, style); if (text) el.append(text); parent.append(el); return el; };
  if (S.byTime) {
    add(key, 'div', {background: `linear-gradient(90deg, ${colours.stops.join(',')})`}).className = 'ramp';
    const ends = add(key, 'div', {}); ends.className = 'ends';
    for (const text of ['0', 'early → late', duration(META.span_us)]) add(ends, 'span', {}, text);
  } else {
    const dots = add(key, 'div', {}); dots.className = 'dots';
    for (const [name, colour] of [['ON', colours.on], ['OFF', colours.off]]) {
      const item = add(dots, 'span', {}); add(item, 'i', {background: colour}); item.append(name);
    }
  }
  $('by-time').setAttribute('aria-pressed', S.byTime); $('by-polarity').setAttribute('aria-pressed', !S.byTime);
}
function say(title, text) {
  const bold = document.createElement('b'), rest = document.createElement('span');
  bold.textContent = title; rest.textContent = text;
  $('message').replaceChildren(bold, rest); $('message').hidden = false;
}

// -- time line: events per bin, the window in colour, the rest faint
let RATE = new Float32Array(0);
function countRate() {
  RATE = new Float32Array(240);
  for (let i = 2; i < EVENTS.length; i += 4) RATE[Math.min(239, EVENTS[i] * 240 >> 16)]++;
  const most = RATE.reduce((a, b) => Math.max(a, b), 1);
  RATE = RATE.map(v => v / most);
}
function drawRate() {
  const canvas = $('rate'), w = canvas.clientWidth, h = canvas.clientHeight, scale = density();
  if (!w) return;
  sized(canvas, w, h, scale);
  const ctx = canvas.getContext('2d'), colours = theme();
  ctx.setTransform(scale, 0, 0, scale, 0, 0); ctx.clearRect(0, 0, w, h);
  const fill = ctx.createLinearGradient(0, 0, w, 0);
  colours.stops.forEach((c, i) => fill.addColorStop(i / (colours.stops.length - 1), c));
  const from = S.win >= 1 ? 0 : Math.max(0, S.pos - S.win), step = w / RATE.length;
  ctx.fillStyle = S.byTime ? fill : colours.faint;
  RATE.forEach((v, i) => {
    const middle = (i + 0.5) / RATE.length, tall = v ? Math.max(2, v * (h - 8)) : 1;
    ctx.globalAlpha = middle >= from - 0.003 && middle <= S.pos + 0.003 ? 1 : 0.22;
    ctx.fillRect(i * step, h - 2 - tall, step < 2.5 ? step : step - 0.8, tall);
  });
  ctx.globalAlpha = 1; ctx.fillStyle = colours.text;
  const at = Math.min(w - 1.5, Math.max(1.5, S.pos * w));
  ctx.fillRect(at - 0.75, 2, 1.5, h - 4);
  ctx.beginPath(); ctx.arc(at, 4, 3.5, 0, 7); ctx.fill();
}
function setTime(pos) { S.pos = Math.min(1, Math.max(0, pos)); $('time').value = S.pos; moving(); }
function setWindow(slide) {
  slide = Math.min(1, Math.max(0, slide));
  $('window').value = slide; S.win = slide >= 1 ? 1 : 10 ** (3 * (slide - 1));
  $('length').textContent = S.win >= 1 ? 'all' : duration(S.win * META.span_us, 2);
  moving();
}

// -- playing
let playing = false, tickedAt = 0;
function fillSpeeds() {
  const wanted = META.span_us / 8e6;  // about eight seconds from end to end
  let best = 1;
  for (let power = -6; power <= 3; power++) for (const m of [1, 2, 5]) {
    const speed = Number((m * 10 ** power).toPrecision(1)), option = document.createElement('option');
    if (speed > wanted * 60 || speed < wanted / 60) { if (speed !== 1) continue; }
    option.value = speed;
    option.textContent = speed < 1 ? `1/${Math.round(1 / speed)}×` : `${number(speed)}×`;
    $('speed').append(option);
    if (Math.abs(Math.log(speed / wanted)) < Math.abs(Math.log(best / wanted)) || best === 1) best = speed;
  }
  $('speed').value = best;
}
function play(on) {
  if (on === playing || !META.kept) return;
  playing = on; tickedAt = performance.now();
  document.body.classList.toggle('playing', on);
  $('play').setAttribute('aria-label', on ? 'Pause' : 'Play');
  if (on) { if (S.pos >= 1) S.pos = 0; requestAnimationFrame(tick); }
}
function tick(now) {
  if (!playing) return;
  const pos = S.pos + Math.max(0, now - tickedAt) * 1e3 * Number($('speed').value) / Math.max(1, META.span_us);
  tickedAt = now;
  setTime(pos);
  if (pos >= 1) play(false); else requestAnimationFrame(tick);
}

// -- view
function turn(az, el) { S.az += az; S.el = Math.max(-90, Math.min(90, S.el + el)); S.turned = true; moving(); }
function shift(dx, dy) { S.panX += dx / innerHeight; S.panY += dy / innerHeight; S.turned = true; moving(); }
function zoomBy(factor, u, v) {  // what lies under (u, v) stays there
  const zoom = Math.min(8, Math.max(0.08, S.zoom * factor)), ratio = S.zoom / zoom, cam = camera();
  if (u !== undefined) { S.panX += (u - cam.cu) * (1 - ratio) / innerHeight; S.panY += (v - cam.cv) * (1 - ratio) / innerHeight; }
  S.zoom = zoom; S.turned = true; moving();
}
function setTheme(name) { S.theme = name; document.documentElement.dataset.theme = name; paintPalette(); tellKey(); request(); }
function setColour(byTime) { S.byTime = byTime; tellKey(); layout(); }
function reset() {
  play(false); $('points').value = 0; S.points = 0;
  setTime(1); setWindow(1); lookFrom(slant()); request();
}
function layout() {  // fit again; keep a view that someone turned
  const style = $('head').getBoundingClientRect();
  document.documentElement.style.setProperty('--key-top', `${Math.round(style.bottom + 12)}px`);
  if (S.turned) fit(); else lookFrom([FRONT, SIDE].includes(S.view) ? S.view : slant());
  request();
}
const hands = new Map();
function pointers() {
  const cloud = $('cloud');
  cloud.addEventListener('pointerdown', e => { hands.set(e.pointerId, [e.clientX, e.clientY]); try { cloud.setPointerCapture(e.pointerId); } catch (_) { /* a made-up pointer */ } cloud.focus({preventScroll: true}); $('help').hidden = true; });
  for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) cloud.addEventListener(kind, e => hands.delete(e.pointerId));
  cloud.addEventListener('pointermove', e => {
    const was = hands.get(e.pointerId);
    if (!was) return;
    const now = [e.clientX, e.clientY], dx = now[0] - was[0], dy = now[1] - was[1];
    const other = [...hands].find(([id]) => id !== e.pointerId);
    hands.set(e.pointerId, now);
    if (other) {
      const p = other[1], apart = q => Math.max(8, Math.hypot(q[0] - p[0], q[1] - p[1]));
      shift(dx / 2, dy / 2);
      zoomBy(apart(was) / apart(now), (p[0] + now[0]) / 2, (p[1] + now[1]) / 2);
    } else if (e.shiftKey || e.buttons & 6) shift(dx, dy);
    else turn(dx * 0.32, dy * 0.32);
  });
  cloud.addEventListener('contextmenu', e => e.preventDefault());
  cloud.addEventListener('wheel', e => { e.preventDefault(); zoomBy(Math.exp(Math.max(-60, Math.min(60, e.deltaMode ? e.deltaY * 20 : e.deltaY)) * 0.0022), e.clientX, e.clientY); }, {passive: false});
}
const KEYS = {
  ArrowLeft: () => turn(-4, 0), ArrowRight: () => turn(4, 0), ArrowUp: () => turn(0, 4), ArrowDown: () => turn(0, -4),
  '+': () => zoomBy(0.88), '=': () => zoomBy(0.88), '-': () => zoomBy(1 / 0.88), ' ': () => play(!playing),
  '[': () => setWindow(Number($('window').value) - 0.05), ']': () => setWindow(Number($('window').value) + 0.05),
  ',': () => setTime(S.pos - 0.01), '.': () => setTime(S.pos + 0.01), p: () => setColour(!S.byTime),
  d: () => setTheme(S.theme === 'dark' ? 'light' : 'dark'), r: reset, s: () => save(), '?': () => toggleHelp(),
  1: () => { lookFrom(slant()); moving(); }, 2: () => { lookFrom(FRONT); moving(); }, 3: () => { lookFrom(SIDE); moving(); },
  Escape: () => { $('help').hidden = true; }};
function toggleHelp() { $('help').hidden = !$('help').hidden; $('keys').setAttribute('aria-expanded', !$('help').hidden); }
function keyboard() {
  addEventListener('keydown', e => {
    const own = /^(INPUT|SELECT)$/.test(e.target.tagName) && /^(Arrow| )/.test(e.key) || e.target.tagName === 'BUTTON' && e.key === ' ';
    const act = KEYS[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!act || own || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault(); act();
  });
}
function buttons() {
  $('play').onclick = () => play(!playing); $('reset').onclick = reset; $('save').onclick = () => save(); $('keys').onclick = toggleHelp;
  $('theme').onclick = KEYS.d; $('by-time').onclick = () => setColour(true); $('by-polarity').onclick = () => setColour(false);
  $('time').oninput = e => { play(false); setTime(Number(e.target.value)); };
  $('window').oninput = e => setWindow(Number(e.target.value));
  $('points').oninput = e => { S.points = Number(e.target.value); moving(); };
}

// -- saving: box, points and words on one canvas
async function png() {
  S.moving = false; draw();  // the drawing buffer is only sure to be there within this task
  const out = document.createElement('canvas'), scale = density(), colours = theme();
  const below = Math.round(Math.max(200, $('bar').getBoundingClientRect().top) * scale);  // the controls stay out
  out.width = $('axes').width; out.height = Math.min($('axes').height, below);
  const ctx = out.getContext('2d'), family = getComputedStyle(document.body).fontFamily;
  ctx.fillStyle = colours.ground; ctx.fillRect(0, 0, out.width, out.height);
  ctx.drawImage($('axes'), 0, 0); ctx.drawImage($('cloud'), 0, 0);
  ctx.scale(scale, scale); ctx.textBaseline = 'top';
  const word = (text, x, y, colour, font) => { ctx.fillStyle = colour; ctx.font = `${font} ${family}`; ctx.fillText(text, x, y); };
  const head = $('head').getBoundingClientRect();
  word(META.title, head.left, head.top + 2, colours.text, '600 20px');
  word($('facts').textContent, head.left, head.top + 30, colours.faint, '13px');
  if (META.every > 1) word($('notice').textContent, head.left, head.top + 51, colours.on, '13px');
  drawKey(ctx, word, colours);
  return new Promise(resolve => out.toBlob(resolve, 'image/png'));
}
function drawKey(ctx, word, colours) {
  const {left, top, width} = $('key').getBoundingClientRect();
  if (S.byTime) {
    const fill = ctx.createLinearGradient(left, 0, left + width, 0);
    colours.stops.forEach((c, i) => fill.addColorStop(i / (colours.stops.length - 1), c));
    ctx.fillStyle = fill; ctx.fillRect(left, top, width, 8);
    word('0', left, top + 14, colours.faint, '12px');
    ctx.textAlign = 'right'; word(duration(META.span_us), left + width, top + 14, colours.faint, '12px');
    ctx.textAlign = 'center'; word('early → late', left + width / 2, top + 14, colours.faint, '12px');
  } else [['ON', colours.on], ['OFF', colours.off]].forEach(([name, colour], i) => {
    ctx.fillStyle = colour; ctx.beginPath(); ctx.arc(left + 6 + 62 * i, top + 8, 4.5, 0, 7); ctx.fill();
    word(name, left + 17 + 62 * i, top + 2, colours.text, '13px');
  });
}
async function save() {
  const link = document.createElement('a'), url = URL.createObjectURL(await png());
  link.href = url; link.download = `${META.title.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'cloud'}.png`;
  link.click(); setTimeout(() => URL.revokeObjectURL(url), 1e4);
}

// -- start
async function start() {
  tellFacts(); tellKey(); fillSpeeds(); pointers(); keyboard(); buttons();
  addEventListener('resize', layout);
  const words = new ResizeObserver(layout);  // a longer line of words leaves less room
  for (const name of ['head', 'bar']) words.observe($(name));
  if (!META.kept) say('No events', 'This recording holds no events: there is nothing to draw.');
  else if (typeof DecompressionStream === 'undefined') say('A newer browser is needed', 'This page unpacks its events with DecompressionStream, which browsers have had since 2023.');
  else {
    EVENTS = await unpack(); countRate();
    if (!startGL()) say('WebGL2 is not available', 'The points are drawn with WebGL2, which this browser does not have or has switched off. Switch on hardware acceleration, or open the page in a current Firefox, Chrome, Edge or Safari.');
    $('cloud').addEventListener('webglcontextlost', e => { e.preventDefault(); GL = null; });
    $('cloud').addEventListener('webglcontextrestored', () => { startGL(); request(); });
  }
  tellClock(); setWindow(1); layout();  // asks for a first, quick draw; the full one follows when all is at rest
  requestAnimationFrame(() => { document.documentElement.dataset.ready = 'yes'; });
}
const placeEvent = (x, y, us) => [(us / Math.max(1, META.span_us) * 2 - 1) * HALF[0], (META.height / 2 - 0.5 - y) * PIXEL, (x + 0.5 - META.width / 2) * PIXEL];
window.dvskit = {state: S, meta: META, png, get drawn() { return DRAWN; }, get playing() { return playing; },
  place: (x, y, us) => project(camera(), placeEvent(x, y, us)), box: () => CORNERS.map(p => project(camera(), p))};
start().catch(error => { say('The cloud could not be drawn', String(error && error.message || error)); console.error(error); });
