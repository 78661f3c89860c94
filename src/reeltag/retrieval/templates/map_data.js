// From the JSON of the page to columns, and what is computed from them. Nothing here touches the page.

const SPAN = 65536; // the map is this many units wide
const CELL_TITLES = 6;
const LEVELS_PER_DOUBLING = 3;

// Numbers from base 64; kinds as numpy names them.
function unpack(packed) {
  const raw = atob(packed.bytes);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  if (packed.kind === "u1") return bytes;
  return packed.kind === "u2" ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
}

// Lists of numbers, one per title.
function unpackLists(column) {
  const counts = unpack(column.counts);
  const starts = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) starts[i + 1] = starts[i] + counts[i];
  const values = unpack(column.of);
  return { names: column.names, of: (i) => values.subarray(starts[i], starts[i + 1]) };
}

// A title without case and accents, for the search.
function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

// Titles whose name holds the words as typed: those that begin with them first, then by name; all of them, as rows.
function findTitles(names, typed) {
  const wanted = plain(typed).trim();
  if (!wanted) return [];
  const found = [];
  for (let i = 0; i < names.length; i++) {
    const place = names[i].indexOf(wanted);
    if (place < 0) continue;
    const begins = place === 0 ? (names[i].length === wanted.length ? 0 : 1) : names[i][place - 1] === " " ? 2 : 3;
    found.push([begins, names[i], i]);
  }
  found.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : a[2] - b[2]));
  return found.map((entry) => entry[2]);
}

// Titles in square cells, so that those of a window or near a place are found without asking all.
function makeGrid(x, y) {
  const n = x.length;
  const side = Math.max(1, Math.min(512, Math.round(Math.sqrt(n / CELL_TITLES))));
  const starts = new Uint32Array(side * side + 1);
  const cells = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    cells[i] = Math.floor((y[i] * side) / SPAN) * side + Math.floor((x[i] * side) / SPAN);
    starts[cells[i] + 1]++;
  }
  for (let c = 0; c < side * side; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  const rows = new Uint32Array(n);
  for (let i = 0; i < n; i++) rows[next[cells[i]]++] = i;
  return { side, starts, rows };
}

// Call visit with every title between two corners (and perhaps some a little outside).
function inWindow(grid, left, top, right, bottom, visit) {
  const cell = (v) => Math.max(0, Math.min(grid.side - 1, Math.floor((v * grid.side) / SPAN)));
  if (right < 0 || bottom < 0 || left > SPAN || top > SPAN) return;
  const first = cell(left);
  const last = cell(right);
  for (let row = cell(top); row <= cell(bottom); row++) {
    const end = grid.starts[row * grid.side + last + 1];
    for (let k = grid.starts[row * grid.side + first]; k < end; k++) visit(grid.rows[k]);
  }
}

// How many levels of zoom there are, from the whole map to a few titles.
function levelCount(n) {
  return LEVELS_PER_DOUBLING * (Math.ceil(Math.log2(Math.sqrt(Math.max(n, 1)))) + 4);
}

// The level at which each title first gets a box (a poster, a name) of its own; 255 for none.
//
// Boxes of one level do not overlap, and a title that has one keeps it at all deeper levels: so nothing flickers when
// the map is moved or zoomed. Earlier titles of the order come first. sizes(level) is the size of a box in map units.
function boxLevels(order, x, y, levels, sizes) {
  const out = new Uint8Array(x.length).fill(255);
  let capacity = 8;
  while (capacity < 2 * order.length) capacity *= 2;
  const slots = new Int32Array(capacity);
  const mask = capacity - 1;
  for (let level = 0; level < levels; level++) {
    const [width, height] = sizes(level);
    const column = (i) => Math.floor(x[i] / width);
    const line = (i) => Math.floor(y[i] / height);
    const slot = (cx, cy) => (Math.imul(cx + 1, 73856093) ^ Math.imul(cy + 1, 19349663)) & mask;
    const at = (cx, cy) => {
      for (let s = slot(cx, cy); slots[s] >= 0; s = (s + 1) & mask) {
        if (column(slots[s]) === cx && line(slots[s]) === cy) return slots[s];
      }
      return -1;
    };
    const put = (i) => {
      let s = slot(column(i), line(i));
      while (slots[s] >= 0) s = (s + 1) & mask;
      slots[s] = i;
    };
    const isFree = (i) => {
      for (let cy = line(i) - 1; cy <= line(i) + 1; cy++) {
        for (let cx = column(i) - 1; cx <= column(i) + 1; cx++) {
          const other = at(cx, cy);
          if (other >= 0 && Math.abs(x[other] - x[i]) < width && Math.abs(y[other] - y[i]) < height) return false;
        }
      }
      return true;
    };
    slots.fill(-1);
    for (const i of order) if (out[i] < level) put(i);
    for (const i of order) {
      if (out[i] === 255 && isFree(i)) {
        out[i] = level;
        put(i);
      }
    }
  }
  return out;
}

// The number of a colour for each group, so that groups near each other differ: the largest choose first.
function spreadColours(middles, counts, n) {
  const out = new Uint8Array(middles.length);
  const order = middles.map((_, i) => i).sort((a, b) => counts[b] - counts[a] || a - b);
  const taken = [];
  for (const i of order) {
    let best = -1;
    for (let colour = 0; colour < n; colour++) {
      let nearest = Infinity;
      for (const j of taken) {
        if (out[j] !== colour) continue;
        nearest = Math.min(nearest, Math.hypot(middles[i][0] - middles[j][0], middles[i][1] - middles[j][1]));
      }
      if (nearest > best) {
        best = nearest;
        out[i] = colour;
      }
    }
    taken.push(i);
  }
  return out;
}

// Colours between some, evenly.
function gradient(stops, n) {
  const rgb = stops.map((stop) => [1, 3, 5].map((k) => parseInt(stop.slice(k, k + 2), 16)));
  return Array.from({ length: n }, (_, i) => {
    const place = (i / Math.max(n - 1, 1)) * (rgb.length - 1);
    const k = Math.min(Math.floor(place), rgb.length - 2);
    const mixed = rgb[k].map((v, c) => Math.round(v + (rgb[k + 1][c] - v) * (place - k)));
    return `rgb(${mixed.join(" ")})`;
  });
}
