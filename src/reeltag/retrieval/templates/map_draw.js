// What is seen: the canvas, and when what appears. Far away titles are dots, near by posters with their names.

const HUES = 16; // eight colours, as discs and as squares
const AGES = 24;
const OTHER = HUES; // colour of titles that have none of the coloured labels
const FIRST_SCALE = 500 / SPAN; // pixels per unit at level 0
const [TILE_WIDTH, TILE_HEIGHT, TILE_COLUMNS, TILE_ROWS] = data.tile;
const POSTER = [64, 96];
const BOX = [72, 106]; // of a poster and its stripe, with a gap
const NAME_LINES = 32; // what its name takes below it
const NAME_BOX = [104, 46]; // where no title has a poster
const NAMED_FROM = 0.85; // size of posters from which names are below them
const SHEETS_KEPT = 40;

const state = {
  x: SPAN / 2, y: SPAN / 2, scale: FIRST_SCALE, // middle of the window in units; pixels per unit
  colourBy: groups ? "group" : "label", only: -1, from: 0, to: 0, undated: true,
  selected: -1, over: -1, matches: [],
};
const view = { width: 0, height: 0, ratio: 1, left: 0, colours: {}, hues: [], ages: [] };
const shown = new Uint8Array(data.n).fill(1);
const colourOf = new Uint8Array(data.n);
let levels = new Uint8Array(data.n);
const hasPosters = data.sheets.length > 0;
const grid = makeGrid(x, y);
const groupCounts = new Uint32Array(data.groups ? data.groups.names.length : 0);
if (groups) for (const number of groups) if (number) groupCounts[number - 1]++;
const groupColours = data.groups ? spreadColours(data.groups.middles, groupCounts, HUES) : [];
const maxScale = FIRST_SCALE * 2 ** ((levelCount(data.n) - 1) / LEVELS_PER_DOUBLING);

// How far titles are apart on the screen if spread evenly, in doublings of what a dot needs.
function roomAt(scale) {
  return Math.log2((scale * SPAN) / Math.sqrt(Math.max(data.n, 1)) / 12);
}

function boxSize(scale) {
  return hasPosters ? Math.max(0.5, Math.min(1.6, 0.5 + 0.15 * roomAt(scale))) : 1;
}

// Width and height that a title takes on the screen; names need room before they are shown.
function boxExtent(scale) {
  if (!hasPosters) return NAME_BOX;
  const size = boxSize(scale);
  const named = Math.max(0, Math.min(1, (size - 0.6) / (NAMED_FROM - 0.6)));
  return [(BOX[0] + 14 * named) * size, (BOX[1] + NAME_LINES * named) * size];
}

// In which order titles get boxes: those with posters first, scattered, for catalogues are often sorted by year.
const scattered = (i) => Math.imul(i + 1, 2654435761) >>> 0;
const turns = Array.from({ length: data.n }, (_, i) => i)
  .sort((i, j) => (tiles[j] > 0) - (tiles[i] > 0) || scattered(i) - scattered(j));

function computeLevels() {
  const order = turns.filter((i) => shown[i]);
  levels = boxLevels(order, x, y, levelCount(data.n), (level) => {
    const scale = FIRST_SCALE * 2 ** (level / LEVELS_PER_DOUBLING);
    const [width, height] = boxExtent(scale);
    return [width / scale, height / scale];
  });
}

const toScreen = (ux, uy) => [
  (ux - state.x) * state.scale + view.left + (view.width - view.left) / 2,
  (uy - state.y) * state.scale + view.height / 2,
];
const toUnits = (px, py) => [
  (px - view.left - (view.width - view.left) / 2) / state.scale + state.x,
  (py - view.height / 2) / state.scale + state.y,
];

// Sheets of posters are loaded when one of their posters is to be drawn; those not seen for longest are dropped.
const sheets = new Map();
function sheetOf(tile) {
  const number = Math.floor((tile - 1) / (TILE_COLUMNS * TILE_ROWS));
  let image = sheets.get(number);
  if (image) sheets.delete(number);
  else {
    image = new Image();
    image.onload = () => draw();
    image.onerror = () => { image.isBroken = true; };
    image.src = data.sheets[number];
  }
  sheets.set(number, image);
  if (sheets.size > SHEETS_KEPT) sheets.delete(sheets.keys().next().value);
  return image;
}

function tilePlace(tile) {
  const inside = (tile - 1) % (TILE_COLUMNS * TILE_ROWS);
  return [(inside % TILE_COLUMNS) * TILE_WIDTH, Math.floor(inside / TILE_COLUMNS) * TILE_HEIGHT];
}

let isAsked = false;
function draw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    drawNow();
  });
}

function drawNow() {
  const { context: c, ratio } = view;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.fillStyle = view.colours.page;
  c.fillRect(0, 0, view.width, view.height);
  const seen = inView();
  drawDots(c, seen);
  if (state.selected >= 0) drawLines(c);
  for (const i of seen) if (hasBox(i)) drawBox(c, i);
  drawGroupNames(c);
  drawMarks(c);
}

// Rows of the titles in the window, with those whose poster reaches into it.
function inView() {
  const margin = 2 * BOX[1];
  const [left, top] = toUnits(-margin, -margin);
  const [right, bottom] = toUnits(view.width + margin, view.height + margin);
  const rows = [];
  inWindow(grid, left, top, right, bottom, (i) => {
    if (x[i] >= left && x[i] <= right && y[i] >= top && y[i] <= bottom) rows.push(i);
  });
  return rows;
}

function hasBox(i) {
  if (!shown[i] || roomAt(state.scale) < (state.colourBy === "group" ? 1 : 0)) return false;
  if (i === state.selected) return true;
  return levels[i] <= Math.floor(LEVELS_PER_DOUBLING * Math.log2(state.scale / FIRST_SCALE) + 1e-6);
}

function dotRadius() {
  return Math.max(1.5, Math.min(6, 12 * 2 ** roomAt(state.scale) * 0.22));
}

function paint(colour) {
  if (state.colourBy === "year") return colour < AGES ? view.ages[colour] : view.colours.other;
  return colour < HUES ? view.hues[colour % 8] : view.colours.other;
}

// All titles as dots, one path per colour; those left out by a filter first and faint.
function drawDots(c, rows) {
  const radius = dotRadius();
  const byColour = new Map([[-1, []]]);
  for (const i of rows) {
    const colour = shown[i] ? colourOf[i] : -1;
    if (!byColour.has(colour)) byColour.set(colour, []);
    byColour.get(colour).push(i);
  }
  const order = [...byColour.keys()].sort((a, b) => a - b);
  if (byColour.has(OTHER) && state.colourBy !== "year") order.splice(1, 0, ...order.splice(order.indexOf(OTHER), 1));
  for (const colour of order) {
    const isSquare = colour >= 8 && colour < HUES && state.colourBy !== "year";
    c.fillStyle = colour < 0 ? view.colours.faint : paint(colour);
    c.globalAlpha = colour < 0 ? 1 : radius < 2.5 ? 0.75 : 0.9;
    c.beginPath();
    for (const i of byColour.get(colour)) dotPath(c, i, colour < 0 ? radius * 0.8 : radius, isSquare);
    c.fill();
  }
  c.globalAlpha = 1;
}

function dotPath(c, i, radius, isSquare) {
  const [px, py] = toScreen(x[i], y[i]);
  if (isSquare || radius < 1.8) {
    c.rect(px - radius * 0.9, py - radius * 0.9, radius * 1.8, radius * 1.8);
    return;
  }
  c.moveTo(px + radius, py);
  c.arc(px, py, radius, 0, 2 * Math.PI);
}

// Left, top, width and height of a poster; it and the stripe below it have the title's place in the middle.
function posterPlace(i) {
  const size = boxSize(state.scale);
  const [px, py] = toScreen(x[i], y[i]);
  const [w, h] = [POSTER[0] * size, POSTER[1] * size];
  return [Math.round(px - w / 2), Math.round(py - h / 2), w, h];
}

// One title near by: its poster with its name below, or its name beside its dot.
function drawBox(c, i) {
  const size = boxSize(state.scale);
  const [px, py] = toScreen(x[i], y[i]);
  const width = boxExtent(state.scale)[0];
  if (!tiles[i]) {
    if (size >= NAMED_FROM) drawName(c, i, px, py + dotRadius() + 3, width - 4, hasPosters ? 4 : 2);
    return;
  }
  const [left, top, w, h] = posterPlace(i);
  const image = sheetOf(tiles[i]);
  c.fillStyle = view.colours.tile;
  c.fillRect(left, top, w, h);
  if (image.complete && image.naturalWidth) {
    const [sx, sy] = tilePlace(tiles[i]);
    c.drawImage(image, sx, sy, TILE_WIDTH, TILE_HEIGHT, left, top, w, h);
  }
  c.fillStyle = paint(colourOf[i]);
  c.fillRect(left, top + h, w, Math.max(2, 4 * size));
  if (size >= NAMED_FROM) drawName(c, i, px, top + h + 7 * size, width - 2, 2);
}

function drawName(c, i, px, top, width, lines) {
  const size = Math.round(Math.max(10, Math.min(13, 11 * boxSize(state.scale))));
  c.font = `${size}px ${view.font}`;
  c.textAlign = "center";
  c.textBaseline = "top";
  c.lineJoin = "round";
  c.lineWidth = 3;
  c.strokeStyle = view.colours.halo;
  c.fillStyle = view.colours.ink;
  wrapped(c, nameOf(i), width, lines).forEach((line, k) => {
    c.strokeText(line, px, top + k * size * 1.2);
    c.fillText(line, px, top + k * size * 1.2);
  });
}

// A text cut into lines that fit; what does not fit ends in an ellipsis.
const wrappings = new Map();
function wrapped(c, text, width, limit) {
  const key = `${c.font}|${Math.round(width)}|${limit}|${text}`;
  if (wrappings.has(key)) return wrappings.get(key);
  const lines = [];
  let rest = text.trim();
  while (rest && lines.length < limit) {
    let cut = rest;
    while (c.measureText(cut).width > width && cut.includes(" ")) cut = cut.slice(0, cut.lastIndexOf(" "));
    const isLast = lines.length === limit - 1;
    if (c.measureText(cut).width > width || (isLast && cut !== rest)) {
      const characters = Array.from(isLast ? rest : cut);
      while (characters.length > 1 && c.measureText(characters.join("") + "…").width > width) characters.pop();
      lines.push(characters.join("").trim() + "…");
      rest = isLast ? "" : rest.slice(cut.length).trim();
    } else {
      lines.push(cut);
      rest = rest.slice(cut.length).trim();
    }
  }
  if (wrappings.size > 5000) wrappings.clear();
  wrappings.set(key, lines);
  return lines;
}

// Names of groups at their middles, the largest first; one that would cover another is left out until there is room.
function drawGroupNames(c) {
  if (!groups || state.colourBy !== "group") return;
  const order = data.groups.names.map((_, g) => g).sort((a, b) => groupCounts[b] - groupCounts[a] || a - b);
  const taken = [];
  c.textAlign = "center";
  c.textBaseline = "middle";
  c.lineJoin = "round";
  for (const g of order) {
    const [px, py] = toScreen(...data.groups.middles[g]);
    const size = 13;
    c.font = `600 ${size}px ${view.font}`;
    const lines = wrapped(c, data.groups.names[g], 170, 2);
    const width = Math.max(...lines.map((line) => c.measureText(line).width)) / 2 + 4;
    const height = (lines.length * size * 1.2) / 2 + 2;
    if (px + width < 0 || px - width > view.width || py + height < 0 || py - height > view.height) continue;
    if (state.only >= 0 && state.only !== g) continue;
    if (taken.some((t) => Math.abs(t[0] - px) < t[2] + width && Math.abs(t[1] - py) < t[3] + height)) continue;
    taken.push([px, py, width, height]);
    c.globalAlpha = 0.8;
    c.fillStyle = view.colours.halo;
    c.beginPath();
    c.roundRect(px - width, py - height, 2 * width, 2 * height, 5);
    c.fill();
    c.globalAlpha = 1;
    c.fillStyle = view.colours.ink;
    lines.forEach((line, k) => c.fillText(line, px, py + (k - (lines.length - 1) / 2) * size * 1.2));
  }
}

// Lines from the selected title to its nearest.
function drawLines(c) {
  const from = toScreen(x[state.selected], y[state.selected]);
  c.strokeStyle = view.colours.accent;
  c.lineWidth = 1.5;
  for (const j of near.of(state.selected)) {
    c.beginPath();
    c.moveTo(...from);
    c.lineTo(...toScreen(x[j], y[j]));
    c.stroke();
  }
}

// Around the titles found, those nearest to the selected one, and the one looked at; the selected one on top.
function drawMarks(c) {
  c.lineWidth = 2;
  for (const i of state.matches) if (shown[i]) mark(c, i, view.colours.mark);
  if (state.selected >= 0) for (const j of near.of(state.selected)) mark(c, j, view.colours.accent);
  c.lineWidth = 3;
  if (state.over >= 0) mark(c, state.over, view.colours.accent);
  if (state.selected < 0) return;
  if (hasBox(state.selected)) drawBox(c, state.selected);
  mark(c, state.selected, view.colours.mark);
}

function mark(c, i, colour) {
  c.strokeStyle = colour;
  if (tiles[i] && hasBox(i)) {
    const [left, top, w, h] = posterPlace(i);
    c.strokeRect(left - 1, top - 1, w + 2, h + 4 * boxSize(state.scale) + 2);
    return;
  }
  const [px, py] = toScreen(x[i], y[i]);
  c.beginPath();
  c.arc(px, py, dotRadius() + 4, 0, 2 * Math.PI);
  c.stroke();
}

// The title at a place of the screen: of a poster or name that covers it, else the nearest dot; -1 for none.
function titleAt(px, py, reach) {
  const [left, top] = toUnits(px - 2 * BOX[0], py - 2 * BOX[1]);
  const [right, bottom] = toUnits(px + 2 * BOX[0], py + 2 * BOX[1]);
  let best = -1;
  let least = reach;
  inWindow(grid, left, top, right, bottom, (i) => {
    if (!shown[i]) return;
    const [qx, qy] = toScreen(x[i], y[i]);
    let distance = Math.hypot(qx - px, qy - py);
    if (tiles[i] && hasBox(i)) {
      const [atLeft, atTop, w, h] = posterPlace(i);
      if (px >= atLeft && px <= atLeft + w && py >= atTop && py <= atTop + h + 5) distance = i === state.selected ? -2 : -1;
    }
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}
