// The training, its result, and how to use the model.
const STAGES = {
  none: '', reading: 'Looking at your clips', training: 'Learning', judging: 'Testing it', finished: '',
  stopped: 'Stopped. Press “Continue” to go on.', failed: 'It did not work.',
};
listeners.push(({training}) => {
  const {stage, running, step, steps, seconds_left: left, error, report} = training;
  $('train').disabled = running;
  setText($('train'), training.model ? 'Train again' : 'Train');
  $('stop').hidden = !running;
  $('resume').hidden = running || !['stopped', 'failed'].includes(stage);
  $('progress').hidden = !running;
  if (running && steps) $('progress').value = step / steps; else $('progress').removeAttribute('value');
  const rest = running && left !== null ? `, about ${left < 90 ? `${Math.ceil(left / 10) * 10} seconds` : `${Math.round(left / 60)} minutes`} left` : '';
  setText($('stage-words'), error ? `${STAGES[stage]} ${error}` : `${STAGES[stage] ?? stage}${rest}`);
  $('stage-words').classList.toggle('failed', stage === 'failed');
  $('stage-words').setAttribute('aria-live', running ? 'off' : 'polite');  // the time left changes often
  $('report').hidden = !report;
  setText($('report').lastElementChild, report);
  drawCurve(training.curve);
  setText($('result'), training.result ? `${training.result}.` : '');
  if (JSON.stringify(training.warnings) !== $('warnings').dataset.lines) {
    $('warnings').replaceChildren();
    for (const line of training.warnings) element($('warnings'), 'li', {}, line);
    $('warnings').dataset.lines = JSON.stringify(training.warnings);
  }
  setText($('start'), training.start);
  tellConfusion(training);
});
$('train').onclick = async () => { if (await act('train', {minutes: Number($('minutes').value)})) $('stop').focus(); };
$('stop').onclick = () => act('stop');
$('resume').onclick = () => act('resume');

function drawCurve(curve) {
  $('curve').hidden = !curve.length;
  if (!curve.length) return;
  const svg = $('curve').firstElementChild, last = Math.max(1, curve.at(-1).step), most = Math.max(...curve.map(({loss}) => loss), 1e-9);
  const points = (rows, height) => rows.map(row => `${(320 * row.step / last).toFixed(1)},${(92 - 88 * height(row)).toFixed(1)}`).join(' ');
  const judged = curve.filter(({accuracy}) => accuracy !== null), lines = [points(curve, ({loss}) => loss / most)];
  if (judged.length) lines.push(points(judged, ({accuracy}) => accuracy));
  if (svg.dataset.lines === lines.join()) return;
  svg.dataset.lines = lines.join();
  svg.replaceChildren();
  for (const line of lines) {
    const drawn = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    drawn.setAttribute('points', line);
    svg.append(drawn);
  }
  const right = judged.length ? ` Dashed: recognized while learning, now ${Math.round(100 * judged.at(-1).accuracy)} %.` : '';
  const words = `Line: the error, lower is better, now ${curve.at(-1).loss.toFixed(2)}.${right}`;
  svg.setAttribute('aria-label', words);
  setText($('curve').lastElementChild, words);
}
function tellConfusion({classes, confusion}) {
  $('confusion').hidden = !confusion.length;
  const key = JSON.stringify([classes, confusion]);
  if ($('confusion').dataset.key === key) return;
  $('confusion').dataset.key = key;
  $('confusion').replaceChildren();
  if (!confusion.length) return;
  element($('confusion'), 'p', {className: 'faint'}, 'Rows: what a clip shows. Columns: what it was taken for.');
  const table = element($('confusion'), 'table');
  const head = element(element(table, 'thead'), 'tr'), body = element(table, 'tbody');
  element(head, 'td');
  for (const name of classes) element(head, 'th', {scope: 'col'}, name);
  confusion.forEach((counts, i) => {
    const row = element(body, 'tr');
    element(row, 'th', {scope: 'row'}, classes[i]);
    counts.forEach((count, k) => element(row, 'td', {className: count ? (i === k ? 'right' : 'wrong') : ''}, String(count)));
  });
}

// -- the model
let saved = null;  // the model that the commands are for
listeners.push(({training: {model}}) => {
  $('save').disabled = !model;
  $('no-model').hidden = Boolean(model);
  if (model !== saved) { saved = model; showSaved(false); }
});
function showSaved(shown) {
  $('saved').hidden = !shown;
  $('save').setAttribute('aria-expanded', shown);
}
$('save').onclick = async () => {
  if (!$('saved').hidden) { showSaved(false); return; }
  const answer = await fetch('commands');
  if (!answer.ok) { tell(await answer.text()); return; }
  $('commands').replaceChildren();
  for (const [purpose, text] of await answer.json()) {
    element($('commands'), 'dt', {}, purpose);
    const line = element($('commands'), 'dd');
    element(line, 'code', {}, text);
    element(line, 'button', {'aria-label': `Copy: ${purpose}`, onclick: () => copy(text)}, 'Copy');
  }
  showSaved(true);
};
async function copy(text) {
  try { await navigator.clipboard.writeText(text); tell('Copied.'); }
  catch { tell('The browser did not copy it. Select the text and copy it.'); }
}

listeners.push(({recovered}) => {
  if (!recovered.length || sessionStorage.getItem('recovered') === recovered.join()) return;
  sessionStorage.setItem('recovered', recovered.join());
  tell(`Recovered from the last time: ${recovered.join(', ')}`);
});
for (const id of ['person', 'seconds', 'minutes']) remember(id);
if (sessionStorage.getItem('camera')) startCamera();
connect();
