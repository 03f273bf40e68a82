// What a model takes each recording for at the time that is shown: a line beside the cloud, and
// bands along the time, one for each run of decisions that are alike.
for (const cloud of CLOUDS) {
  cloud.decided = [];
  if (cloud.told.decides) cloud.line = element($('head'), 'p', {}, '', 'decision');
}
async function hearDecisions(cloud, {decided}) {  // returns whether there are more, or they were forgotten
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
function decisionAt(cloud) {  // the latest that was made by the time that is shown
  const {start_us = 0, span_us} = cloud.told, us = S.pos * spanUs(cloud), rows = cloud.decided;
  if (us >= span_us) return rows[rows.length - 1];
  let low = 0, high = rows.length;  // the first that was made later
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
    element(cloud.line, 'b', {color: name ? bandColour(name) : ''}, words[0]);
    element(cloud.line, 'span', {}, words[1]);
  }
}
tellMore = tellDecisions;
