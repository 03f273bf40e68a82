// Saving: box, points and words on one canvas.
async function png() {
  S.moving = false; draw();  // the drawing buffer is only sure to be there within this task
  const out = document.createElement('canvas'), scale = density(), colours = theme();
  const below = Math.round(Math.max(200, $('bar').getBoundingClientRect().top) * scale);  // the controls stay out
  out.width = $('axes').width; out.height = Math.min($('axes').height, below);
  const ctx = out.getContext('2d');
  ctx.fillStyle = colours.ground; ctx.fillRect(0, 0, out.width, out.height);
  ctx.drawImage($('axes'), 0, 0); ctx.drawImage($('cloud'), 0, 0);
  ctx.scale(scale, scale); ctx.textBaseline = 'top';
  const word = (text, x, y, colour, font) => { ctx.fillStyle = colour; ctx.font = `${font} ${family()}`; ctx.fillText(text, x, y); };
  const head = $('head').getBoundingClientRect();
  word(META.title, head.left, head.top + 2, colours.text, '600 20px');
  word($('facts').textContent, head.left, head.top + 30, colours.faint, '13px');
  let line = 51;
  for (const [name, colour] of [['notice', colours.on], ['region-told', colours.text]]) {
    if ($(name).hidden) continue;
    word((name === 'notice' ? $(name) : $('region-words')).textContent, head.left, head.top + line, colour, '13px');
    line += 21;
  }
  drawKey(ctx, word);
  return new Promise(resolve => out.toBlob(resolve, 'image/png'));
}
function drawKey(ctx, word) {
  const {left, top, width} = $('key').getBoundingClientRect(), {dots, stops, ends} = keyOf(), colours = theme();
  if (dots) {
    dots.forEach(([name, colour], i) => {
      ctx.fillStyle = colour; ctx.beginPath(); ctx.arc(left + 6 + 62 * i, top + 8, 4.5, 0, 7); ctx.fill();
      word(name, left + 17 + 62 * i, top + 2, colours.text, '13px');
    });
    return;
  }
  const fill = ctx.createLinearGradient(left, 0, left + width, 0);
  stops.forEach((c, i) => fill.addColorStop(i / (stops.length - 1), c));
  ctx.fillStyle = fill; ctx.fillRect(left, top, width, 8);
  ['left', 'center', 'right'].forEach((side, i) => { ctx.textAlign = side; word(ends[i], left + width * i / 2, top + 14, colours.faint, '12px'); });
}
async function save() {
  const link = document.createElement('a'), url = URL.createObjectURL(await png());
  link.href = url; link.download = `${META.title.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'cloud'}.png`;
  link.click(); setTimeout(() => URL.revokeObjectURL(url), 1e4);
}
