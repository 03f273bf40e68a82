// The page of `dvskit teach`: the connection to the program, messages, and questions to the reader.
'use strict';
const $ = id => document.getElementById(id);
let S = {classes: [], clips: [], recovered: [], deleted: null, training: {stage: 'none', curve: [], warnings: [], classes: [], confusion: []}};
const listeners = [];  // called with the state when it changes
let link = null;

function element(parent, tag, properties = {}, text = '') {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value; else made.setAttribute(name, value);
  }
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}
function setText(node, text) { if (node.textContent !== text) node.textContent = text; }  // a reader hears each change
const plural = (count, name) => `${count.toLocaleString('en')} ${name}${count === 1 ? '' : 's'}`;

// -- the connection
function connect() {
  const address = new URL('live', location.href);
  address.protocol = 'ws:';
  link = new WebSocket(address);
  link.binaryType = 'arraybuffer';
  link.onopen = () => { $('lost').hidden = true; linkOpened(); };
  link.onmessage = ({data}) => { if (typeof data === 'string') hear(JSON.parse(data)); else showAnswer(data); };
  link.onclose = () => {
    const words = linkLost();
    sessionStorage.removeItem('recovered');
    sayLost(`dvskit has stopped. Start it again in the same way: this page then goes on by itself, or dvskit prints a new address to open. Your clips are safe. ${words}`);
    setTimeout(reconnect, 1000);
  };
}
function sayLost(words) { setText($('lost'), words); $('lost').hidden = false; }
async function reconnect() {
  let known = false;
  try { known = await serverKnowsToken(); } catch { setTimeout(reconnect, 1000); return; }  // nothing answers
  if (known) connect();
  else sayLost('dvskit was started again at a new address. Open the address that it printed, and close this page. Your clips are safe.');
}
async function serverKnowsToken() {  // another program may have taken its port, and must not learn the token
  const asked = crypto.randomUUID(), text = new TextEncoder();
  const answer = await (await fetch(`/proof?${asked}`)).text();
  const key = await crypto.subtle.importKey('raw', text.encode(location.pathname.split('/')[1]), {name: 'HMAC', hash: 'SHA-256'}, false, ['verify']);
  return crypto.subtle.verify('HMAC', key, new Uint8Array((answer.match(/[0-9a-f]{2}/g) || []).map(pair => parseInt(pair, 16))), text.encode(asked));
}
const isOpen = () => link !== null && link.readyState === WebSocket.OPEN;
function send(message) { if (isOpen()) link.send(JSON.stringify(message)); }
function hear(message) {
  if (message.state) show(message.state);
  if (message.recorded) clipRecorded(message.recorded);
  if (message.problem) { recordingFailed(); tell(message.problem); }
}
function show(state) {
  S = state;
  for (const each of listeners) each(state);
  document.documentElement.dataset.ready = 'yes';
}
async function post(address, body) {
  if (!isOpen()) { tell('dvskit does not answer: start it again in the same way.'); return null; }
  try {
    const answer = await fetch(address, {method: 'POST', body});
    if (!answer.ok) { tell(await answer.text()); return null; }
    const {result, state} = await answer.json();
    show(state);
    return result ?? true;
  } catch { tell('dvskit does not answer: start it again in the same way.'); return null; }
}
const act = (what, details = {}) => post('do', JSON.stringify({do: what, ...details}));

// -- messages
let undo = null, toastEnds = 0;
function tell(words, undoing = null) {  // undoing: the action that undoes it, with its details
  undo = undoing;
  $('undo').hidden = undo === null;
  $('toast').firstElementChild.textContent = words[0].toUpperCase() + words.slice(1) + (/[.…?]$/.test(words) ? '' : '.');
  $('toast').hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => { if (!$('toast').matches(':focus-within, :hover')) $('toast').hidden = true; }, 12000);
}
$('close-toast').onclick = () => { $('toast').hidden = true; };
$('undo').onclick = async () => {
  const restored = await act(...undo);
  if (restored) tell(`${restored} is back.`);
};
function speak(words) { $('spoken').textContent = words; }

// -- questions
function ask({title, words = '', value = null, choices = [], choice = '', yes}) {
  // Resolves to the text, or true without one, or {choice, text} with choices; null if canceled.
  $('dialog-title').textContent = title;
  $('dialog-words').textContent = words;
  $('dialog-choices').hidden = $('dialog-label').hidden = !choices.length;
  $('dialog-choice').replaceChildren(...choices.map(name => new Option(name, name, false, name === choice)));
  $('dialog-text').hidden = value === null;
  $('dialog-text').required = value !== null && !choices.length;
  $('dialog-text').value = value ?? '';
  $('dialog-yes').textContent = yes;
  $('dialog').returnValue = '';
  $('dialog').showModal();
  if (value !== null && !choices.length) $('dialog-text').select();
  return new Promise(resolve => {
    $('dialog').addEventListener('close', () => {
      const agreed = $('dialog').returnValue === 'yes', text = $('dialog-text').value.trim();
      if (!agreed) resolve(null);
      else resolve(choices.length ? {choice: $('dialog-choice').value, text} : value === null ? true : text);
    }, {once: true});
  });
}

// -- what a reload keeps, in this browser
function remember(id) {
  const key = `dvskit teach ${id}`, kept = localStorage.getItem(key);
  if (kept) $(id).value = kept;
  if (!$(id).value) $(id).selectedIndex = 1;  // a length that is no longer offered
  $(id).addEventListener('change', () => localStorage.setItem(key, $(id).value));
}
