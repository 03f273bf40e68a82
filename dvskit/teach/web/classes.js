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
  $('no-classes').hidden = classes.length > 1;
  $('how-to-move').hidden = classes.length < 2 || !clips.length;
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
  card.ondragover = e => {
    if (hasClip(e) ? !dragged || dragged.label === name : !e.dataTransfer.types.includes('Files')) return;
    e.preventDefault();
    e.dataTransfer.dropEffect = hasClip(e) ? 'move' : 'copy';
    card.classList.add('over');
  };
  card.ondragleave = () => card.classList.remove('over');
  card.ondrop = e => {
    e.preventDefault();
    e.stopPropagation();
    endDrag();
    if (!hasClip(e)) addVideos(name, [...e.dataTransfer.files]);
    else if (dragged) moveClip(dragged, {label: name});
  };
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
  if (token) tell(`Deleted ${name}.`, ['undo', {token}]);
}
async function addVideos(label, files) {
  const person = $('person').value.trim() || 'me';
  for (const file of files) {
    tell(`Adding “${file.name}” to “${label}” …`);
    const query = new URLSearchParams({label, person, name: file.name});
    const added = await post(`video?${query}`, file);
    if (!added) return;  // the message says why
    tell(`Added ${added}`);
  }
}

// -- clips
let dragged = null;  // the clip that is dragged to another class; a long press drags by touch
const CLIP = 'application/x-dvskit-clip';
const hasClip = e => e.dataTransfer.types.includes(CLIP);  // also one of another tab, which is not dragged here
function endDrag() {
  document.body.classList.remove('dropping');
  for (const card of cards.values()) card.classList.remove('over');
}
function newRow(clip) {
  const {file, person, take, seconds, damage} = clip, name = file.split('/').pop().replace(/\.[^.]*$/, '');
  const row = element(document.body, 'li', {draggable: true}), query = `clip=${encodeURIComponent(file)}`;
  const picture = element(row, 'div', {className: 'picture'});  // not within the button: some browsers drag nothing out of one
  const image = element(picture, 'img', {alt: '', loading: 'lazy', draggable: false, src: `thumbnail?${query}`});
  const button = element(picture, 'button', {className: 'show', 'aria-pressed': 'false', 'aria-label': `Play ${name} of ${clip.label}`});
  picture.onclick = () => {  // also by the button
    const playing = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', playing);
    image.src = `${playing ? 'preview' : 'thumbnail'}?${query}`;
  };
  const words = person ? `${person}, take ${take}` : name;
  element(row, 'span', {className: damage ? 'words damaged' : 'words'}, damage ? `${words}: damaged, delete it` : `${words}, ${seconds.toFixed(1)} s`);
  const tools = element(row, 'div', {className: 'tools'});
  element(tools, 'button', {'aria-label': `Move ${name} of ${clip.label}`, onclick: () => askWhere(clip, name)}, 'Move');
  element(tools, 'button', {'aria-label': `Delete ${name} of ${clip.label}`, onclick: () => deleteClip(clip)}, 'Delete');
  row.ondragstart = e => {
    dragged = clip;
    e.dataTransfer.setData(CLIP, file);
    e.dataTransfer.effectAllowed = 'move';
  };
  row.ondragend = () => { dragged = null; endDrag(); };
  rows.set(keyOf(clip), row);
  return row;
}
async function askWhere(clip, name) {
  const to = await ask({title: `Move ${name}`, choices: S.classes, choice: clip.label, value: clip.person, yes: 'Move'});
  if (to) moveClip(clip, {label: to.choice, person: to.text});
}
async function moveClip({file, label, person}, to) {
  const moved = await act('move_clip', {clip: file, label, person, ...to});
  if (moved && moved !== file) tell(`It is now ${moved}`, ['undo_move', {clip: moved}]);
}
async function deleteClip({file}) {
  const token = await act('delete_clip', {clip: file});
  if (token) tell(`Deleted ${file}.`, ['undo', {token}]);
}

// -- videos dropped elsewhere
addEventListener('dragover', e => {
  if (hasClip(e)) return;
  e.preventDefault();
  document.body.classList.add('dropping');
});
addEventListener('dragleave', e => { if (!e.relatedTarget) endDrag(); });
addEventListener('drop', e => {
  e.preventDefault();
  endDrag();
  if (!e.dataTransfer.files.length) return;
  if ($('camera-part').contains(e.target)) playVideo(e.dataTransfer.files[0]);
  else tell('Drop videos on a class to add them to it, or on the camera picture to watch the answers.');
});
