// The camera or a video: frames to the program, recordings, and its answers.
const WIDTH = 320;  // of frames, at most
const REASONS = {
  NotAllowedError: 'The browser may not use the camera. Allow it at the left end of the address bar, then press “Start the camera” again.',
  NotFoundError: 'No camera was found. Plug one in, then press “Start the camera” again.',
  NotReadableError: 'Another program uses the camera. Close that program, then press “Start the camera” again.',
  Missing: 'This browser offers no camera to this page. Open the address in another browser on this computer.',
};
const video = $('video'), shot = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
let source = '';  // 'camera', 'video' or ''
let size = null, lastUs = -1, offsetUs = 0;
let sent = 0, answered = 0, skipped = 0;
let recording = null;  // {label, person, us, firstUs, counting}
let run = 0;  // raised when the source changes, which ends the loop of frames

function linkOpened() { sent = answered = 0; size = null; }
function linkLost() {  // returns words on the clip that was being recorded
  if (!recording) return '';
  const words = recording.counting ? '' : `The clip of “${recording.label}” ends here: its first part comes back with dvskit.`;
  endRecording();
  return words;
}

// -- sources
async function startCamera() {
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) { explain('Missing'); return; }
  let stream;
  $('camera').disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({audio: false, video: {width: {ideal: 640}, height: {ideal: 480}, frameRate: {ideal: 30}}});
  } catch (error) { explain(error.name, error.message); return; }
  finally { $('camera').disabled = false; }
  stopSource();
  stream.getVideoTracks()[0].onended = () => { stopSource(); explain('NotFoundError'); };
  video.srcObject = stream;
  begin('camera', 'Camera');
}
function explain(name, message = '') {
  sessionStorage.removeItem('camera');
  setText($('no-camera'), `${REASONS[name] || `The camera cannot be used: ${message || name}.`} You can also use videos: choose “Use a video file” to watch the answers, or “Add videos” at a class to add clips.`);
  $('no-camera').hidden = false;
}
function playVideo(file) {
  stopSource();
  video.src = URL.createObjectURL(file);
  video.loop = true;
  video.onerror = () => { if (!video.srcObject && video.src) { stopSource(); tell(`“${file.name}” cannot be played by this browser. “Add videos” at a class may still read it.`); } };
  begin('video', file.name);
}
async function begin(kind, words) {
  const mine = ++run;
  try { await video.play(); } catch { if (run === mine) stopSource(); return; }
  if (run !== mine) return;
  source = kind;
  $('no-camera').hidden = true;
  $('stage').classList.toggle('mirrored', kind === 'camera');
  setText($('source-words'), words);
  setText($('camera'), kind === 'camera' ? 'Stop the camera' : 'Start the camera');
  if (kind === 'camera') sessionStorage.setItem('camera', 'on');
  nextFrame(mine);
}
function stopSource() {
  run++;
  if (recording) cancelRecording();
  source = '';
  if (video.srcObject) for (const track of video.srcObject.getTracks()) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute('src');
  video.load();
  $('stage').classList.remove('mirrored');
  setText($('camera'), 'Start the camera');
  setText($('source-words'), 'Camera is off');
  $('answer-part').hidden = true;
}
$('camera').onclick = () => { if (source === 'camera') { sessionStorage.removeItem('camera'); stopSource(); } else startCamera(); };
$('play').onclick = () => $('play-file').click();
$('play-file').onchange = e => { if (e.target.files.length) playVideo(e.target.files[0]); e.target.value = ''; };

// -- frames
function nextFrame(mine) {
  const again = (now, about) => { if (run === mine) { takeFrame(now, about); nextFrame(mine); } };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(again);
  else setTimeout(() => again(performance.now(), {}), 33);
}
function takeFrame(now, about) {
  if (!isOpen() || !video.videoWidth) return;
  const ms = source === 'video' ? 1000 * (about.mediaTime ?? video.currentTime) : about.captureTime ?? now;
  let us = Math.round(1000 * ms) + offsetUs;
  if (us <= lastUs) {
    if (source !== 'video' && lastUs - us < 1e6) return;  // the same frame again
    offsetUs += lastUs - us + 33333;  // the video begins again
    us = lastUs + 33333;
  }
  if ((!recording || recording.counting) && sent - answered > 1) { skipped++; return; }  // it is still busy
  lastUs = us;
  const width = Math.min(WIDTH, video.videoWidth), height = Math.max(1, Math.round(video.videoHeight * width / video.videoWidth));
  if (!size || size[0] !== width || size[1] !== height) {
    if (recording && recording.firstUs !== null) { cancelRecording('The picture changed its size. Record the clip again.'); return; }
    size = [width, height];
    shot.canvas.width = width; shot.canvas.height = height;
    send({size});
  }
  shot.drawImage(video, 0, 0, width, height);
  link.send(packed(us, shot.getImageData(0, 0, width, height).data));
  sent++;
  if (recording && !recording.counting) followRecording(us);
}
function packed(us, pixels) {  // the time, then a gray byte a pixel
  const message = new Uint8Array(8 + pixels.length / 4);
  new DataView(message.buffer).setBigInt64(0, BigInt(us), true);
  for (let from = 0, to = 8; from < pixels.length; from += 4, to++) message[to] = (77 * pixels[from] + 150 * pixels[from + 1] + 29 * pixels[from + 2] + 128) >> 8;
  return message;
}

// -- recordings
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
async function record(label) {
  if (recording) return;
  if (!source) { tell('Start the camera first, or add videos.'); $('camera').focus(); return; }
  const mine = recording = {label, person: $('person').value.trim() || 'me', us: 1e6 * Number($('seconds').value), firstUs: null, counting: true, from: document.activeElement};
  $('recording').hidden = false;
  $('recorded').value = 0;
  setText($('recording-words'), `Get ready: ${label}`);
  $('cancel').focus();
  for (const number of [3, 2, 1]) {
    $('count').textContent = number; $('count').hidden = false;
    speak(number === 3 ? `Recording ${label} in 3` : String(number));
    await pause(1000);
    if (recording !== mine) return;
  }
  $('count').hidden = true;
  $('stage').classList.add('recording');
  setText($('recording-words'), `Recording ${label}`);
  speak('Recording');
  send({record: {label, person: mine.person}});
  mine.counting = false;
}
function followRecording(us) {
  recording.firstUs ??= us;
  const done = us - recording.firstUs;
  $('recorded').value = done / recording.us;
  if (done >= recording.us) { send({finish: true}); endRecording(); }
}
function endRecording() {
  const {from} = recording;
  recording = null;
  $('recording').hidden = $('count').hidden = true;
  $('stage').classList.remove('recording');
  if (document.activeElement === document.body && from) from.focus();
}
function cancelRecording(words = 'The recording was canceled.') {
  if (!recording) return;
  send({discard: true});
  endRecording();
  speak(words);
  tell(words);
}
function recordingFailed() {
  if (!recording || recording.counting) return;
  send({finish: true});
  endRecording();
}
function clipRecorded(file) { speak(`Recorded ${file}`); tell(`Recorded ${file}`); }
$('cancel').onclick = () => cancelRecording();
addEventListener('keydown', e => { if (e.key === 'Escape' && recording && !$('dialog').open) cancelRecording(); });
document.addEventListener('visibilitychange', () => {  // a hidden tab gets no frames
  if (!document.hidden || !recording) return;
  if (recording.counting) cancelRecording('The recording was canceled, because this tab was hidden.');
  else { send({finish: true}); endRecording(); }
});

// -- answers
const picture = $('events').getContext('2d');
const WHY = {'few events': 'hardly anything moves', unsure: 'not sure'};
function showAnswer(data) {
  const length = new DataView(data).getUint32(0, true);
  const found = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  answered = found.frame;
  if (!source) return;
  drawEvents(found, new Uint8Array(data, 4 + length));
  setText($('event-words'), plural(found.events, 'event'));
  const {classes, probabilities, answer, nothing} = found, known = Object.keys(probabilities).length > 0;
  $('answer-part').hidden = !classes.length;
  if (!classes.length) return;
  setText($('answer'), answer ?? 'nothing');
  $('answer').classList.toggle('nothing', answer === null);
  if (answer === null && known) element($('answer'), 'small', {}, WHY[nothing] || nothing);
  tellBars(classes, probabilities, answer);
  const late = Math.max(0, Math.round((1000 * performance.now() + offsetUs - found.t_us) / 1000));
  const lost = found.skipped + skipped ? `; ${plural(found.skipped + skipped, 'frame')} skipped` : '';
  skipped = 0;
  $('latency').textContent = `Computed in ${found.latency_ms.toFixed(0)} ms${source === 'camera' ? `, shown ${late} ms after the camera saw it` : ''}${lost}`;
}
function drawEvents({width, height}, rgb) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    image.data[to] = rgb[from]; image.data[to + 1] = rgb[from + 1]; image.data[to + 2] = rgb[from + 2]; image.data[to + 3] = 255;
  }
  if ($('events').width !== width || $('events').height !== height) { $('events').width = width; $('events').height = height; }
  picture.putImageData(image, 0, 0);
}
function tellBars(classes, probabilities, answer) {
  const bars = $('bars');
  if (bars.dataset.classes !== classes.join('\n')) {
    bars.replaceChildren();
    for (const name of classes) { const row = element(bars, 'li'); element(row, 'span', {}, name); element(row, 'span'); element(row, 'span'); }
    bars.dataset.classes = classes.join('\n');
  }
  classes.forEach((name, i) => {
    const row = bars.children[i], share = probabilities[name] || 0;
    row.classList.toggle('best', name === answer);
    row.children[1].style.setProperty('--share', share);
    row.children[2].textContent = `${Math.round(100 * share)} %`;
  });
}
