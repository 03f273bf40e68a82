// Start: the words first, then the events, then the picture.
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
  const words = new ResizeObserver(layout);  // a longer line of words leaves less room
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
  tellClock(); showState(location.hash || META.state || '');  // a first, quick draw; the full one follows when all is at rest
  requestAnimationFrame(() => { document.documentElement.dataset.ready = 'yes'; });
}
window.dvskit = {state: S, meta: META, png, get drawn() { return DRAWN; }, get playing() { return playing; }, get link() { return stateText(); },
  place: (x, y, us, index = 0) => project(camera(CELLS[index]), CELLS[index].box.at(x, y, us)),
  box: (index = 0) => CELLS[index].box.corners.map(p => project(camera(CELLS[index]), p)),
  flat: (index = 0) => CELLS[index].flat};
