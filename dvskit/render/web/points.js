// The points, in WebGL2: the cloud of each cell, and its flat view.
let GL = null;
const POINT = `
in vec4 event;  // x, y, time in its piece, polarity + 2 * row of flow
uniform vec2 clock;  // place along the box of the piece's start, and of a step of time
uniform vec4 region;  // left, top, right, bottom in pixels
uniform int coloring, shift; uniform sampler2D palette, levels;
out vec3 color; flat out float side;
bool outside() { return event.x < region.x || event.y < region.y || event.x >= region.z || event.y >= region.w; }
float share() { return clock.x + clock.y * event.z; }
vec3 painted() {
  int at = coloring == 0 ? int(clamp(share(), 0., 1.) * 255.) : 256 + (int(event.w) & 1);
  if (coloring == 2) at = 258 + int(texelFetch(levels, ivec2(event.xy) >> shift, 0).r * 255. + .5);
  if (coloring == 3) at = 514 + (int(event.w) >> 1);
  return texelFetch(palette, ivec2(at, 0), 0).rgb;
}`;
const SOLID = `#version 300 es
${POINT}
uniform mat3 turn; uniform vec4 lens, half_, depths;  // depths: dist, perspective, reach of the box, fog
uniform vec3 ground; uniform float size;
void main() {
  vec3 p = vec3((share() * 2. - 1.) * half_.x, half_.y - (event.y + .5 - region.y) * half_.w, (event.x + .5 - region.x) * half_.w - half_.z);
  vec3 e = turn * p; float d = depths.x - depths.y * e.z;
  gl_Position = vec4(lens.x * e.x + lens.z * d, lens.y * e.y + lens.w * d, -e.z / depths.z * d, d);
  if (outside() || d < .01) gl_Position = vec4(2., 2., 2., 1.);
  gl_PointSize = side = clamp(size * depths.x / max(d, .01), 1., 64.);
  float fog = depths.w * clamp(.5 - .5 * e.z / depths.z, 0., 1.);
  color = mix(painted(), ground, fog);
}`;
const FLAT = `#version 300 es
${POINT}
uniform vec4 frame; uniform float size;  // frame: left and top edge, width and height of a pixel
void main() {
  gl_Position = vec4(frame.x + (event.x + .5 - region.x) * frame.z, frame.y - (event.y + .5 - region.y) * frame.w, 0., 1.);
  if (outside()) gl_Position = vec4(2., 2., 2., 1.);
  gl_PointSize = side = size;
  color = painted();
}`;
// Two programs for the cloud: what discards pixels cannot test depth early, and small points need
// no rounding.
const fragment = round => `#version 300 es
precision mediump float; in vec3 color; flat in float side; out vec4 o;
void main() { ${round ? 'vec2 c = gl_PointCoord - .5; if (side > 2.5 && dot(c, c) > .26) discard;' : ''} o = vec4(color, 1.); }`;
function compile(gl, vertex, round) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment(round)]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text); gl.compileShader(shader); gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, 'event'); gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error('the graphics driver refused the shaders: ' + gl.getProgramInfoLog(program));
  const places = new Map();
  return {program, at: name => { if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name)); return places.get(name); }};
}
function smallTexture(gl) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const name of ['TEXTURE_MIN_FILTER', 'TEXTURE_MAG_FILTER']) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.NEAREST);
  for (const name of ['TEXTURE_WRAP_S', 'TEXTURE_WRAP_T']) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.CLAMP_TO_EDGE);
  return texture;
}
function startGL() {
  const gl = $('cloud').getContext('webgl2', {antialias: false, alpha: true, powerPreference: 'high-performance'});
  if (!gl) return null;
  gl.enableVertexAttribArray(0); gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  GL = {gl, square: compile(gl, SOLID, false), round: compile(gl, SOLID, true), flat: compile(gl, FLAT, false), palette: smallTexture(gl)};
  for (const cloud of CLOUDS) {
    cloud.texture = null;
    for (const set of [cloud.whole, cloud.close]) if (set) { set.buffer = null; if (set.eighth) set.eighth.buffer = null; }
  }
  paintPalette();
  return GL;
}
function stopGL() { GL = null; }
function paintPalette() {  // 256 colors of time, OFF and ON, 256 of counts, those of flow
  if (!GL) return;
  const {gl} = GL, flow = META.flow ? META.flow.palettes[S.theme] : [], count = 514 + flow.length, table = new Uint8Array(count * 4).fill(255);
  const ramp = (stops, first) => { for (let i = 0; i < 256; i++) table.set(mixed(stops.map(bytes), i / 255), 4 * (first + i)); };
  ramp(theme().stops, 0); ramp(theme().count_stops, 258);
  table.set(bytes(theme().off), 1024); table.set(bytes(theme().on), 1028);
  flow.forEach((color, i) => table.set(bytes(color), 4 * (514 + i)));
  gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, GL.palette);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, count, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
}
let MOST = 1;  // events of the busiest pixel that is seen
function countPixels() {  // for all recordings together, so that their colors compare
  if (S.color !== 'count' && !S.region) return;
  const changed = CLOUDS.map(cloud => cloud.count());
  if (S.color !== 'count') return;
  const most = Math.max(1, ...CLOUDS.map(cloud => cloud.counts.most(cloud.region)));
  CLOUDS.forEach((cloud, i) => {
    if (!GL || !(changed[i] || most !== MOST || !cloud.texture)) return;
    const {gl} = GL, {width, height} = cloud.counts;
    cloud.levels = cloud.levels || new Uint8Array(width * height);
    cloud.counts.levels(most, cloud.levels);
    gl.activeTexture(gl.TEXTURE1);
    if (cloud.texture) gl.bindTexture(gl.TEXTURE_2D, cloud.texture); else cloud.texture = smallTexture(gl);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, width, height, 0, gl.RED, gl.UNSIGNED_BYTE, cloud.levels);
  });
  MOST = most;
}
function pointSize(cam, box) {
  // Half a sensor pixel as it appears, less for many events in the box.
  const pitch = cam.scale * box.pixel / cam.dist, count = KEPT() * (S.fill ? S.win : 1);
  // Seen as on the sensor, points touch: gaps would form a pattern.
  if (!cam.perspective && Math.abs(cam.turn[2][0]) === 1) return clamp(1.45 * pitch, 1, 6) * 4 ** S.points;
  const crowd = Math.min(S.fill ? 1.5 : 1, (2e5 / Math.max(1, count)) ** 0.25);
  return Math.min(6, Math.max(1, 0.55 * pitch * crowd)) * 4 ** S.points;
}
function useSet(set) {  // its buffer, made when first drawn
  const {gl} = GL;
  if (set.buffer) { gl.bindBuffer(gl.ARRAY_BUFFER, set.buffer); return; }
  set.buffer = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, set.buffer);
  gl.bufferData(gl.ARRAY_BUFFER, set.table, gl.STATIC_DRAW);
}
function drawEvents(program, cloud, every) {  // draws every k-th event of the window; returns their number
  const {gl} = GL, [start, stop] = boxUs(cloud), [first, last] = cloud.set.shown(windowUs(cloud));
  const far = every >= 8 ? 8 : 1, set = far > 1 ? cloud.set.sparse : cloud.set;
  every = Math.min(31, Math.round(every / far));  // by the stride alone, 255 bytes at most
  gl.uniform1i(program.at('palette'), 0); gl.uniform1i(program.at('levels'), 1);
  gl.uniform1i(program.at('coloring'), COLORINGS.indexOf(S.color));
  gl.uniform4f(program.at('region'), ...cloud.region);
  if (S.color === 'count') { gl.uniform1i(program.at('shift'), cloud.counts.shift); gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, cloud.texture); }
  useSet(set);
  let drawn = 0, skip = 0;
  for (const [a, b, from] of set.pieces(Math.ceil(first / far), Math.ceil(last / far))) {
    const count = Math.ceil(Math.max(0, b - a - skip) / every);
    gl.uniform2f(program.at('clock'), (from - start) / (stop - start), set.step / (stop - start));
    gl.vertexAttribPointer(0, 4, gl.UNSIGNED_SHORT, false, 8 * every, 8 * (a + skip));
    if (count) gl.drawArrays(gl.POINTS, 0, count);
    drawn += count; skip += count * every - (b - a);
  }
  return {count: last - first, drawn};
}
function drawCloud(cell, cam, scale, every) {
  const {gl} = GL, w = innerWidth, h = innerHeight, {box} = cell;
  const size = pointSize(cam, box) * scale, near = Math.max(0.01, cam.dist - cam.perspective * box.reach);
  const program = size * cam.dist / near > 2.5 ? GL.round : GL.square;
  gl.useProgram(program.program); gl.enable(gl.DEPTH_TEST);
  gl.uniformMatrix3fv(program.at('turn'), true, cam.turn.flat());
  gl.uniform4f(program.at('lens'), 2 * cam.scale / w, 2 * cam.scale / h, 2 * cam.cu / w - 1, 1 - 2 * cam.cv / h);
  gl.uniform4f(program.at('depths'), cam.dist, cam.perspective, box.reach, 0.3);
  gl.uniform4f(program.at('half_'), ...box.half, box.pixel);
  gl.uniform3f(program.at('ground'), ...bytes(theme().ground).map(v => v / 255));
  gl.uniform1f(program.at('size'), size);
  scissor(cell.area, scale);
  return drawEvents(program, cell.cloud, every);
}
function drawFlat({cloud, flat}, scale, every) {  // later events over earlier ones
  const {gl} = GL, w = innerWidth, h = innerHeight, program = GL.flat;
  gl.useProgram(program.program); gl.disable(gl.DEPTH_TEST);
  gl.uniform4f(program.at('frame'), 2 * flat.left / w - 1, 1 - 2 * flat.top / h, 2 * flat.pixel / w, 2 * flat.pixel / h);
  gl.uniform1f(program.at('size'), Math.max(1, Math.ceil(flat.pixel * scale)));
  scissor([flat.left, flat.top, flat.right, flat.bottom], scale);
  drawEvents(program, cloud, every);
}
function scissor([left, top, right, bottom], scale) {
  const {gl} = GL, low = Math.round(gl.canvas.height - bottom * scale);
  gl.enable(gl.SCISSOR_TEST);
  gl.scissor(Math.round(left * scale), low, Math.round((right - left) * scale), Math.round((bottom - top) * scale));
}
function drawPoints(scale) {
  const {gl} = GL, sum = {count: 0, drawn: 0};
  gl.disable(gl.SCISSOR_TEST); gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
  gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  // The counts' unit has a texture, too, where there are no counts: drivers warn of empty ones.
  for (const unit of [gl.TEXTURE1, gl.TEXTURE0]) { gl.activeTexture(unit); gl.bindTexture(gl.TEXTURE_2D, GL.palette); }
  const seen = CELLS.filter(cell => cell.cloud.set);
  const all = seen.reduce((total, {cloud}) => { const [a, b] = cloud.set.shown(windowUs(cloud)); return total + b - a; }, 0);
  const every = S.moving ? Math.max(1, Math.ceil(all * (S.flat ? 2 : 1) / S.budget)) : 1;
  for (const cell of seen) {
    const {count, drawn} = drawCloud(cell, camera(cell), scale, every);
    sum.count += count; sum.drawn += drawn;
    if (cell.flat) drawFlat(cell, scale, every);
  }
  return sum;
}
