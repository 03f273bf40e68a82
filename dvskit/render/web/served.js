// Pages of `dvskit view`: a growing sample of each recording while it is read, then as many events of
// the visible part as can be shown.
async function fetchSet(address, options) {
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error(await answer.text());
  const data = await answer.arrayBuffer(), length = new DataView(data).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  return [told, new EventSet(told, unpack(new Uint8Array(data, 4 + length), told.kept))];
}
function forget(set) {  // the graphics memory of events that are no longer shown
  if (!set || !GL) return;
  for (const each of [set, set.eighth]) if (each && each.buffer) GL.gl.deleteBuffer(each.buffer);
}
async function refresh(cloud) {
  const [told, set] = await fetchSet(`events?cloud=${cloud.index}`);
  forget(cloud.whole);
  Object.assign(cloud.told, told);
  cloud.whole = set;
  SPAN_US = Math.max(1, ...CLOUDS.map(({told}) => told.span_us));
}
function retell() { readNames(); fitStrip(); tellFacts(); fillSpeeds(); countRates(); tellTime(); tellClock(); layout(); }
load = async () => {
  for (const cloud of CLOUDS) await refresh(cloud);
  readNames(); fitStrip(); tellFacts(); fillSpeeds(); countRates();
  if (!CLOUDS.length) say('Nothing to show yet', 'Drop a video or an event file here.');
  follow();
};
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
let following = false;
async function follow() {  // until everything is read and every job done
  if (following) return;
  following = true;
  for (let wait = 300; ; wait = META.clouds.some(({live}) => live) ? 200 : Math.min(2000, wait * 1.3)) {
    const {clouds, jobs} = await (await fetch('told')).json();
    const behind = CLOUDS.filter((cloud, i) => clouds[i].total !== cloud.told.total);
    for (const cloud of behind) await refresh(cloud);
    for (const cloud of CLOUDS) await hearPictures(cloud, clouds[cloud.index]);
    for (const cloud of CLOUDS) if (await hearObjects(cloud, clouds[cloud.index]) && !behind.length) behind.push(cloud);
    for (const cloud of CLOUDS) if (await hearDecisions(cloud, clouds[cloud.index]) && !behind.length) behind.push(cloud);
    clouds.forEach(({damage}, i) => { if (CLOUDS[i]) CLOUDS[i].told.damage = damage; });
    if (behind.length) retell(); else tellNotice();
    for (const {problem} of clouds) if (problem && !problems.has(problem)) { problems.add(problem); say('The recording could not be read to its end', problem); }
    if (clouds.length > CLOUDS.length) { location.reload(); return; }
    tellJobs(clouds, jobs);
    if (clouds.every(({done}) => done) && jobs.every(({state}) => state !== 'running')) { busy(''); document.documentElement.dataset.all = 'yes'; following = false; return; }
    await pause(wait);
  }
}
const problems = new Set();
function toldBefore(key) {  // in this tab, also before a reload
  const told = sessionStorage.getItem(key) !== null;
  sessionStorage.setItem(key, 'told');
  return told;
}
$('message').addEventListener('click', () => { if (CLOUDS.length) $('message').hidden = true; });
function tellJobs(clouds, jobs) {
  const reading = clouds.filter(({done}, i) => !done && !(CLOUDS[i] && CLOUDS[i].told.live)).map(({name, total}) => `${name}: ${events(total)} read`);
  const running = jobs.filter(({state}) => state === 'running').map(({name, words}) => `${name}: ${words}`);
  busy([...reading, ...running].join('; '));
  jobs.forEach(({name, state, words}, i) => {
    if (state === 'failed' && !toldBefore(`${location.pathname} ${i}`)) say(`${name} cannot be shown`, words);
  });
}
function busy(words) { $('toast').hidden = !words; $('toast').textContent = words; }

// -- more events of the visible part
let asked = null;
function wants(cloud) {  // the part to request, or null if all of it is shown
  const [start, stop] = windowUs(cloud), {set} = cloud;
  if (!set || set.every === 1 || cloud.told.live) return null;
  const [first, last] = set.shown([start, stop]), inside = last - first;
  if (S.region) cloud.count();
  const share = S.region && !set.region ? Math.max(0.02, cloud.counts.within(cloud.region) / Math.max(1, inside)) : 1;
  if (inside * share > META.most / 2) return null;  // a part would have no more detail
  const region = S.region ? `&region=${S.region.join(',')}` : '';
  return `part?cloud=${cloud.index}&start=${Math.floor(start)}&stop=${Math.ceil(stop) + 1}${region}`;
}
seeCloser = async () => {
  if (asked) asked.abort();
  asked = new AbortController();
  const {signal} = asked;
  for (const cloud of CLOUDS) {
    const address = wants(cloud);
    if (!address) continue;
    try {
      busy(`${cloud.told.name}: reading this part`);
      const [, set] = await fetchSet(address, {signal});
      forget(cloud.close);
      cloud.close = set;
      request();
    } catch (error) { if (error.name !== 'AbortError') say('This part could not be read', error.message); }
    if (!signal.aborted) busy('');
  }
};

// -- files dropped on the page
addEventListener('dragover', e => { e.preventDefault(); document.body.classList.add('dropping'); });
addEventListener('dragleave', e => { if (!e.relatedTarget) document.body.classList.remove('dropping'); });
addEventListener('drop', e => {
  e.preventDefault(); document.body.classList.remove('dropping');
  for (const file of e.dataTransfer.files) drop(file);
});
async function drop(file) {
  busy(`${file.name}: being handed over`);
  const answer = await fetch(`drop?name=${encodeURIComponent(file.name)}`, {method: 'POST', body: file});
  if (!answer.ok) say(`${file.name} cannot be shown`, await answer.text());
  follow();
}
$('open').hidden = false;
$('open').onclick = () => $('file').click();
$('file').onchange = e => { for (const file of e.target.files) drop(file); };
$('take').hidden = CLOUDS.every(({told}) => told.live);
for (const {index, told: {name, live}} of CLOUDS) {
  if (live) continue;
  const row = element($('take-panel'), 'p', {}, `${name} as `);
  for (const format of META.formats) element(row, 'a', {}, format).href = `file?cloud=${index}&format=${format}`;
}
$('take').onclick = () => togglePanel('take-panel', 'take');

// -- tracked objects, found meanwhile
async function hearObjects(cloud, {objects, total}) {  // returns whether there are new ones
  const now = `${objects} ${total}`;  // times are relative to the first event that was read
  if (!objects || cloud.heard === now) return false;
  cloud.told.objects = await (await fetch(`objects?cloud=${cloud.index}`)).json();
  cloud.heard = now;
  return true;
}

// -- the decisions of a model: a line beside the cloud for the time that is shown, and bands along
// the time, one for each run of equal decisions
for (const cloud of CLOUDS) {
  cloud.decided = [];
  if (cloud.told.decides) cloud.line = element($('head'), 'p', {}, '', 'decision');
}
async function hearDecisions(cloud, {decided}) {  // returns whether there are new ones, or they were dropped
  const first = cloud.decided.length;
  if (decided > first) cloud.decided.push(...await (await fetch(`decided?cloud=${cloud.index}&first=${first}`)).json());
  if (!cloud.decided.length) return false;
  const fresh = decided > first || !cloud.told.decisions.length;
  cloud.told.decisions = runs(cloud);
  return fresh;
}
function runs(cloud) {  // [start, stop, "wave (93 %)"] from the recording's start, with the mean of the shares
  const {start_us = 0, span_us} = cloud.told, found = [];
  for (const [start, stop, name, , share] of cloud.decided) {
    const last = found[found.length - 1];
    if (stop <= start_us || !name) { if (last) last.over = true; continue; }
    if (last && last.name === name && !last.over) { last.stop = stop; last.shares.push(share); }
    else found.push({start, stop, name, shares: [share]});
  }
  return found.map(({start, stop, name, shares}) => {
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    return [Math.max(0, start - start_us), Math.min(span_us, stop - start_us), `${name} (${Math.round(100 * mean)} %)`];
  });
}
function decisionAt(cloud) {  // the latest decision at the shown time
  const {start_us = 0, span_us} = cloud.told, us = S.pos * spanUs(cloud), rows = cloud.decided;
  if (us >= span_us) return rows[rows.length - 1];
  let low = 0, high = rows.length;  // the first later one
  while (low < high) { const middle = (low + high) >> 1; if (rows[middle][1] - start_us <= us) low = middle + 1; else high = middle; }
  return rows[low - 1];
}
function tellDecisions() {
  for (const cloud of CLOUDS) if (cloud.line) {
    const found = decisionAt(cloud), which = CLOUDS.length > 1 ? `${cloud.told.name}: ` : '';
    const [, , name, best, share, rate] = found || [0, 0, '', '', 0, 0], sure = `${Math.round(100 * share)} %`;
    const words = !found ? [`${which}–`, 'no decision yet']
      : name ? [`${which}${name}`, `${sure} · ${perSecond(rate)}`]
        : [`${which}nothing`, rate ? `${best} ${sure} · ${perSecond(rate)}` : perSecond(0)];
    if (cloud.line.dataset.words === words.join('|')) continue;
    cloud.line.dataset.words = words.join('|');
    cloud.line.style.setProperty('--share', name ? share : 0);
    cloud.line.classList.toggle('nothing', !name);
    cloud.line.replaceChildren();
    element(cloud.line, 'b', {color: name ? bandColor(name) : ''}, words[0]);
    element(cloud.line, 'span', {}, words[1]);
  }
}
tellMore = tellDecisions;
