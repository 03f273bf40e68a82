// The words above the picture, the clock, and the key of the colours.
const percent = share => `${Number((100 * share).toPrecision(3))} %`;
function tellFacts() {
  if (!CLOUDS.length) return;
  const [told] = META.clouds, alone = CLOUDS.length === 1;
  const total = META.clouds.reduce((sum, each) => sum + each.total, 0), kept = META.clouds.reduce((sum, each) => sum + each.kept, 0);
  const facts = [events(total), (alone ? '' : 'up to ') + duration(SPAN_US > 1 ? SPAN_US : told.span_us)];
  if (alone) facts.push(`${told.width}×${told.height} px`);
  const coarse = Math.max(...META.clouds.map(each => each.resolution_us));
  if (kept) facts.push(`times to ${duration(coarse, 2)}`);
  $('facts').textContent = facts.map(text => text.replace(/ /g, '\u00a0')).join(' · ');
  $('facts').title = alone && kept ? `0 is t = ${told.start} µs in the recording` : '';
  tellNotice();
}
function tellNotice() {
  const damaged = CLOUDS.filter(({told}) => told.damage).map(({told}) => `${CLOUDS.length > 1 ? `${told.name}: ` : ''}${told.damage}`);
  const thinned = CLOUDS.filter(({told, set}) => (set ? set.every : told.every) > 1);
  $('notice').hidden = !thinned.length && !damaged.length;
  $('notice').textContent = [...damaged, ...thinned.map(({told, set}) => {
    const every = set ? set.every : told.every, which = CLOUDS.length > 1 ? `${told.name}: ` : '';
    return `${which}1 in ${number(every)} events shown` + (META.served ? '' : `: ${number(told.kept)} of ${number(told.total)}`);
  })].join('; ');
}
let told = '';
function tellClock() {
  const start = S.win >= 1 ? 0 : Math.max(0, S.pos - S.win) * SPAN_US, stop = S.pos * SPAN_US, [unit, length] = unitOf(SPAN_US);
  const least = Math.max(1, (stop - start) / 1000), places = clamp(Math.ceil(Math.log10(length / least)), 0, Math.round(Math.log10(length)));
  const count = S.region ? CLOUDS.reduce((sum, cloud) => sum + cloud.counts.within(cloud.region), 0) : DRAWN.count;
  const names = namesAt(S.pos).join(', ');
  const times = ownTimes() ? [start, stop].map(us => percent(us / SPAN_US)).join(' – ') : `${[start, stop].map(us => decimals(us / length, Math.min(places, 3))).join(' – ')} ${unit}`;
  const words = [times, events(count) + (names ? ` · ${names}` : '')];
  if (words.join('|') === told) return;
  told = words.join('|');
  const small = document.createElement('small');
  small.textContent = words[1];
  $('clock').replaceChildren(words[0], small);
}
function element(parent, name, style, text, kind) {
  const made = document.createElement(name);
  Object.assign(made.style, style);
  if (kind) made.className = kind;
  if (text) made.append(text);
  parent.append(made);
  return made;
}
function keyOf() {  // what the colours say: a ramp with words below it, or dots
  const colours = theme(), own = ownTimes(), [start, stop] = CLOUDS.length && !own ? boxUs(CLOUDS[0]) : [0, SPAN_US];
  if (S.colour === 'polarity') return {dots: [['ON', colours.on], ['OFF', colours.off]]};
  if (S.colour === 'count') return {stops: colours.count_stops, ends: ['1', 'events in the pixel', number(MOST)]};
  if (own) return {stops: colours.stops, ends: ['start', 'early → late', 'end']};
  const all = !S.fill || stop - start >= SPAN_US, [unit, length] = unitOf(stop - start);
  const ends = all ? ['0', duration(SPAN_US)] : [start, stop].map(us => `${decimals(us / length, 1)} ${unit}`);
  return {stops: colours.stops, ends: [ends[0], all ? 'early → late' : '→', ends[1]]};
}
let keyed = '';
function tellKey() {
  const {dots, stops, ends} = keyOf(), key = $('key'), all = JSON.stringify([dots, stops, ends]);
  if (all === keyed) return;
  keyed = all;
  key.replaceChildren();
  if (dots) {
    const row = element(key, 'div', {}, '', 'dots');
    for (const [name, colour] of dots) { const item = element(row, 'span', {}); element(item, 'i', {background: colour}); item.append(name); }
  } else {
    element(key, 'div', {background: `linear-gradient(90deg, ${stops.join(',')})`}, '', 'ramp');
    const row = element(key, 'div', {}, '', 'ends');
    for (const text of ends) element(row, 'span', {}, text);
  }
  for (const name of COLOURINGS) $(`by-${name}`).setAttribute('aria-pressed', S.colour === name);
}
function say(title, text) {
  const bold = document.createElement('b'), rest = document.createElement('span');
  bold.textContent = title; rest.textContent = text;
  $('message').replaceChildren(bold, rest); $('message').hidden = false;
}
