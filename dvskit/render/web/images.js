// Images beside the cloud, such as reconstructed ones: the latest one at the end of the time window.
const PICTURES = [];  // {cloud, figure, image, words, shown, address}; address(i) gives image i
let picturesOn = true;
const hasPictures = () => picturesOn && PICTURES.some(({cloud}) => cloud.told.images.length);
function addPictures(cloud, address) {
  const box = $('images') || element(document.body, 'section', {}, '', '');
  box.id = 'images'; box.setAttribute('aria-label', 'Images');
  const figure = element(box, 'figure', {}), image = element(figure, 'img', {}), words = element(figure, 'figcaption', {});
  cloud.told.images = cloud.told.images || [];
  PICTURES.push({cloud, figure, image, words, shown: '', address});
}
function pictureAt(times, us) {  // the latest image that is not later; -1 before the first
  let low = 0, high = times.length;
  while (low < high) { const middle = (low + high) >> 1; if (times[middle] <= us) low = middle + 1; else high = middle; }
  return low - 1;
}
function tellPictures() {
  for (const picture of PICTURES) {
    const {cloud, figure, image, words, address} = picture, times = cloud.told.images;
    const at = pictureAt(times, S.pos >= 1 ? Infinity : S.pos * spanUs(cloud));
    figure.hidden = at < 0;
    if (at < 0) { picture.shown = ''; continue; }
    const now = address(at);
    if (picture.shown === now) continue;
    picture.shown = now; image.src = now;
    const text = `${CLOUDS.length > 1 ? `${cloud.told.name} · ` : ''}image at ${duration(times[at], 4)}`;
    image.alt = text; words.textContent = text;
  }
}
function placePictures() {  // returns the room they take: at the right, or above the cloud on upright phones
  const box = $('images');
  if (box) box.hidden = !hasPictures();
  if (!hasPictures()) return [0, 0];
  const ratio = Math.max(...PICTURES.map(({cloud: {told}}) => told.height / told.width)), count = PICTURES.length;
  const below = Math.max(...['head', 'key'].map(name => $(name).getBoundingClientRect().bottom)), bar = $('bar').getBoundingClientRect().top;
  const upright = innerWidth <= 760 && innerWidth < innerHeight, caption = 22;
  if (upright) {
    const width = Math.min((innerWidth - 32 - 8 * (count - 1)) / count, 0.24 * innerHeight / ratio), height = width * ratio + caption;
    Object.assign(box.style, {flexDirection: 'row', left: '16px', right: '16px', top: `${below + 8}px`, width: '', height: `${height}px`});
    for (const {figure} of PICTURES) figure.style.width = `${width}px`;
    return [0, height + 8];
  }
  const top = below + 12, room = Math.max(60, bar - top - 16), each = (room - 10 * (count - 1)) / count - caption;
  const width = Math.min(0.3 * innerWidth, 420, each / ratio);
  Object.assign(box.style, {flexDirection: 'column', left: '', right: '22px', top: `${top}px`, width: `${width}px`, height: ''});
  for (const {figure} of PICTURES) figure.style.width = '';
  return [width + 22, 0];
}
aside = placePictures;
function setPictures(on) { picturesOn = on; $('pictures').setAttribute('aria-pressed', on); layout(); }
function offerPictures() {  // the button, the key and their help
  const button = element($('region').parentNode, 'button', {}, '', 'icon');
  Object.assign(button, {id: 'pictures', title: 'Images beside the cloud (i)', onclick: () => setPictures(!picturesOn)});
  button.innerHTML = '<svg viewBox="0 0 24 24"><path d="M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.1"/></svg>';
  button.setAttribute('aria-label', 'Images beside the cloud'); button.setAttribute('aria-pressed', 'true');
  $('region').before(button);
  KEYS.i = () => setPictures(!picturesOn);
  const help = $('help').querySelector('dl');
  element(element(help, 'dt', {}), 'kbd', {}, 'i'); element(help, 'dd', {}, 'images shown, hidden');
}
const tellOthers = tellMore;
tellMore = () => { tellOthers(); tellPictures(); };
drawMore = ctx => {
  if (hasPictures()) for (const {figure, image} of PICTURES) {
    const {left, top, width, height} = image.getBoundingClientRect();
    if (!figure.hidden && image.complete) ctx.drawImage(image, left, top, width, height);
  }
};
for (const cloud of CLOUDS) if ($(`images-${cloud.index}`)) {
  const data = JSON.parse($(`images-${cloud.index}`).textContent);
  $(`images-${cloud.index}`).remove();
  addPictures(cloud, at => `data:image/webp;base64,${data[at]}`);
}
// In a view images are made meanwhile, and each is requested when it is shown.
for (const cloud of CLOUDS) if (cloud.told.pictured) addPictures(cloud, at => `picture?cloud=${cloud.index}&at=${cloud.told.images[at]}`);
async function hearPictures(cloud, {pictures, total}) {
  const now = `${pictures} ${total}`;  // times are relative to the first event that was read
  if (!pictures || cloud.pictured === now) return;
  const first = !cloud.told.images.length;
  cloud.told.images = await (await fetch(`pictures?cloud=${cloud.index}`)).json();
  cloud.pictured = now;
  if (first) layout(); else tellPictures();
}
if (PICTURES.length) offerPictures();
