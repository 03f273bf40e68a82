// Classes and their clips.
const cards = new Map(), rows = new Map();  // by name of the class, and by clip

function place(parent, nodes) {  // in this order, moving no more than needed, so that focus is kept
  nodes.forEach((node, i) => { if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] || null); });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}
function keep(map, keys) { for (const key of map.keys()) if (!keys.has(key)) map.delete(key); }

listeners.push(({classes, clips}) => {
  const focused = document.activeElement && document.activeElement.closest('#classes') !== null;
  keep(cards, new Set(classes));
  keep(rows, new Set(clips.map(keyOf)));
  place($('classes'), classes.map(name => cards.get(name) || newCard(name)));
  for (const name of classes) {
    const mine = clips.filter(({label}) => label === name), card = cards.get(name);
    place(card.querySelector('ul'), mine.map(clip => rows.get(keyOf(clip)) || newRow(clip)));
    setText(card.querySelector('.number'), plural(mine.length, 'clip'));
  }
  for (const clip of clips) fillTargets(rows.get(keyOf(clip)).querySelector('select'), clip, classes);
  $('no-classes').hidden = classes.length > 1;
  const people = [...new Set(clips.map(({person}) => person).filter(Boolean))].sort();
  if ($('people').dataset.names !== people.join('\n')) {
    $('people').replaceChildren(...people.map(name => new Option(name)));
    $('people').dataset.names = people.join('\n');
  }
  if (focused && document.activeElement === document.body) $('classes').focus();  // its control is gone
});
const keyOf = ({file, seconds, frames}) => `${file}\n${seconds}\n${frames}`;

// -- classes
function newCard(name) {
  const card = element(document.body, 'section', {className: 'class', 'aria-label': `Class ${name}`});
  const head = element(card, 'div', {className: 'row'});
  element(head, 'h3', {}, name);
  element(head, 'span', {className: 'number faint'});
  const tools = element(card, 'div', {className: 'row'});
  element(tools, 'button', {className: 'first record', onclick: () => record(name), 'aria-label': `Record a clip of ${name}`}, 'Record');
  const files = element(tools, 'input', {type: 'file', accept: 'video/*,.mkv,.avi', multiple: true, hidden: true});
  element(tools, 'button', {onclick: () => files.click(), 'aria-label': `Add videos to ${name}`}, 'Add videos');
  files.onchange = () => { addVideos(name, [...files.files]); files.value = ''; };
  element(tools, 'button', {onclick: () => renameClass(name), 'aria-label': `Rename ${name}`}, 'Rename');
  element(tools, 'button', {onclick: () => deleteClass(name), 'aria-label': `Delete ${name}`}, 'Delete');
  element(card, 'ul', {className: 'clips', 'aria-label': `Clips of ${name}`});
  card.ondragover = e => { e.preventDefault(); card.classList.add('over'); };
  card.ondragleave = () => card.classList.remove('over');
  card.ondrop = e => { e.preventDefault(); e.stopPropagation(); card.classList.remove('over'); document.body.classList.remove('dropping'); addVideos(name, [...e.dataTransfer.files]); };
  cards.set(name, card);
  return card;
}
$('add-class').onclick = async () => {
  const name = await ask({title: 'Name of the new class', words: 'One class is one gesture.', value: '', yes: 'Add'});
  if (!name) return;
  const made = await act('add_class', {name});
  if (made && cards.has(made)) cards.get(made).querySelector('.record').focus();
};
async function renameClass(old) {
  const name = await ask({title: `New name of ${old}`, value: old, yes: 'Rename'});
  if (!name || name === old) return;
  const made = await act('rename_class', {old, new: name});
  if (made && cards.has(made)) cards.get(made).querySelector('.record').focus();
}
async function deleteClass(name) {
  const count = S.clips.filter(({label}) => label === name).length;
  if (count && !await ask({title: `Delete ${name}?`, words: `Its ${plural(count, 'clip')} will be deleted too. You can undo this.`, yes: 'Delete'})) return;
  const token = await act('delete_class', {name});
  if (token) tell(`Deleted ${name}.`, token);
}
async function addVideos(label, files) {
  const person = $('person').value.trim() || 'me';
  for (const file of files) {
    tell(`Adding ${file.name} to ${label} …`);
    const query = new URLSearchParams({label, person, name: file.name});
    const added = await post(`video?${query}`, file);
    if (!added) return;  // the message says why
    tell(`Added ${added}`);
  }
}

// -- clips
function newRow(clip) {
  const {file, person, take, seconds, damage} = clip, name = file.split('/').pop().replace(/\.[^.]*$/, '');
  const row = element(document.body, 'li'), query = `clip=${encodeURIComponent(file)}`;
  const button = element(row, 'button', {className: 'show', 'aria-pressed': 'false', 'aria-label': `Play ${name} of ${clip.label}`});
  const image = element(button, 'img', {alt: '', loading: 'lazy', src: `thumbnail?${query}`});
  button.onclick = () => {
    const playing = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', playing);
    image.src = `${playing ? 'preview' : 'thumbnail'}?${query}`;
  };
  const words = person ? `${person}, take ${take}` : name;
  element(row, 'span', {className: damage ? 'words damaged' : 'words'}, damage ? `${words}: damaged, delete it` : `${words}, ${seconds.toFixed(1)} s`);
  const tools = element(row, 'div', {className: 'tools'});
  const select = element(tools, 'select', {'aria-label': `Move ${name} of ${clip.label} to`});
  select.onchange = () => moveClip(clip, select);
  element(tools, 'button', {'aria-label': `Delete ${name} of ${clip.label}`, title: 'Delete', onclick: () => deleteClip(clip)}, '×');
  rows.set(keyOf(clip), row);
  return row;
}
function fillTargets(select, clip, classes) {
  const targets = classes.filter(name => name !== clip.label);
  if (select.dataset.targets === targets.join('\n')) return;
  select.replaceChildren(new Option('Move to', ''), ...targets.map(name => new Option(name, `class ${name}`)), new Option('another person…', 'person'));
  select.dataset.targets = targets.join('\n');
}
async function moveClip(clip, select) {
  const choice = select.value;
  select.value = '';
  let {label, person} = clip;
  if (choice.startsWith('class ')) label = choice.slice(6);
  else if (choice === 'person') person = await ask({title: `Person of ${clip.file}`, value: person, yes: 'Move'});
  if (!choice || person === null) return;
  const moved = await act('move_clip', {clip: clip.file, label, person});
  if (moved) tell(`It is now ${moved}`);
}
async function deleteClip({file}) {
  const token = await act('delete_clip', {clip: file});
  if (token) tell(`Deleted ${file}.`, token);
}

// -- videos dropped elsewhere
addEventListener('dragover', e => { e.preventDefault(); document.body.classList.add('dropping'); });
addEventListener('dragleave', e => { if (!e.relatedTarget) document.body.classList.remove('dropping'); });
addEventListener('drop', e => {
  e.preventDefault();
  document.body.classList.remove('dropping');
  if (!e.dataTransfer.files.length) return;
  if ($('camera-part').contains(e.target)) playVideo(e.dataTransfer.files[0]);
  else tell('Drop videos on a class to add them to it, or on the camera picture to watch the answers.');
});
