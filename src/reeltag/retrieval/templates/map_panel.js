// Beside the map: search, legend, years, the card of a title. Texts of titles only ever become text, never HTML.

const byId = (id) => document.getElementById(id);
const hint = byId("hint");
const card = byId("card");
const search = byId("search");
const found = byId("found");
const LISTED = 12;
const narrow = window.matchMedia("(max-width: 720px)");

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) {
    made.textContent = text;
    made.dir = "auto";
  }
  return made;
}

const yearOf = (i) => (years[i] ? years[i] + data.firstYear - 1 : null);
const nameOf = (i) => data.titles[i] || data.ids[i];
const labelsOf = (i) => Array.from(labels.of(i), (k) => labels.names[k]);
const inWords = (i) => [nameOf(i), yearOf(i) ?? "", labelsOf(i).join(", ")].filter((part) => part !== "").join(", ");

function heading(tag, className, i) {
  const made = element(tag, className);
  const name = element("bdi", "", nameOf(i));
  made.append(name);
  if (yearOf(i) !== null) made.append(" ", element("span", "", `(${yearOf(i)})`));
  return made;
}

// A poster out of its sheet.
function posterOf(i, width) {
  const made = element("div", "poster");
  const [w, h] = [width, (width * TILE_HEIGHT) / TILE_WIDTH];
  made.style.width = `${w}px`;
  made.style.height = `${h}px`;
  const [sx, sy] = tilePlace(tiles[i]);
  const zoom = w / TILE_WIDTH;
  made.style.backgroundImage = `url("${sheetOf(tiles[i]).src}")`;
  made.style.backgroundSize = `${TILE_COLUMNS * TILE_WIDTH * zoom}px auto`;
  made.style.backgroundPosition = `${-sx * zoom}px ${-sy * zoom}px`;
  return made;
}

function tagList(names) {
  const made = element("div", "tags");
  for (const name of names) made.append(element("span", "", name));
  return made;
}

function describe(i, into, words) {
  if (labels.of(i).length) {
    into.append(tagList(labelsOf(i)));
    if (!known[i]) into.append(element("p", "note", "as tagged; not known for sure"));
  }
  const own = Array.from(terms.of(i), (k) => terms.names[k]).slice(0, words);
  if (own.length) into.append(element("p", "note", own.join(" · ")));
}

function showHint(i) {
  const beside = element("div");
  beside.append(heading("p", "name", i));
  describe(i, beside, 4);
  hint.replaceChildren(...(tiles[i] ? [posterOf(i, 64)] : []), beside);
  hint.hidden = false;
  const [px, py] = toScreen(x[i], y[i]);
  const away = tiles[i] && hasBox(i) ? (POSTER[0] * boxSize(state.scale)) / 2 + 12 : 16;
  const { width, height } = hint.getBoundingClientRect();
  const left = px + away + width > view.width ? px - away - width : px + away;
  hint.style.left = `${Math.max(4, left)}px`;
  hint.style.top = `${Math.max(4, Math.min(view.height - height - 4, py - height / 2))}px`;
}

function hideHint() {
  hint.hidden = true;
  canvas.classList.remove("over");
  if (state.over >= 0) {
    state.over = -1;
    draw();
  }
}

function select(i, isFocused) {
  state.selected = i;
  const close = element("button", "close", "×");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.onclick = closeCard;
  const beside = element("div");
  beside.append(heading("h2", "", i), element("p", "note", data.ids[i]));
  describe(i, beside, Infinity);
  if (groups && groups[i]) beside.append(element("p", "note", `sub-genre: ${data.groups.names[groups[i] - 1]}`));
  const top = element("div", "top");
  top.append(...(tiles[i] ? [posterOf(i, 84)] : []), beside, close);
  card.replaceChildren(top);
  const nearest = Array.from(near.of(i));
  if (nearest.length) card.append(element("h3", "", "Nearest titles"), nearList(nearest));
  card.hidden = false;
  card.scrollTop = 0;
  hideHint();
  byId("said").textContent = inWords(i);
  try {
    history.replaceState(null, "", `#${encodeURIComponent(data.ids[i])}`);
  } catch (error) {
    if (error.name !== "SecurityError") throw error; // a page from the disk may not be allowed to
  }
  if (isFocused) close.focus();
  draw();
}

function nearList(rows) {
  const made = element("ul", "near");
  for (const j of rows) {
    const button = element("button");
    button.type = "button";
    const beside = element("div");
    beside.append(heading("div", "", j));
    button.append(...(tiles[j] ? [posterOf(j, 28)] : []), beside);
    button.onclick = () => {
      reveal(j);
      select(j, true);
      goTo(j);
    };
    const item = element("li");
    item.append(button);
    made.append(item);
  }
  return made;
}

function closeCard() {
  if (card.hidden) return;
  const hadFocus = card.contains(document.activeElement);
  card.hidden = true;
  state.selected = -1;
  if (hadFocus) canvas.focus();
  draw();
}

// Take away filters that hide a title.
function reveal(i) {
  if (shown[i]) return;
  state.only = -1;
  setYears(data.firstYear, lastYear, true);
  fillLegend();
  applyFilters();
}

let names = null;
let active = -1;
let listed = [];

function searchNow() {
  names ??= data.titles.map((title, i) => plain(title || data.ids[i]));
  const rows = findTitles(names, search.value);
  state.matches = search.value.trim().length > 1 ? rows : [];
  listed = rows.slice(0, LISTED);
  active = listed.length ? 0 : -1;
  found.replaceChildren(...listed.map((i, k) => {
    const item = heading("li", "", i);
    item.id = `found-${k}`;
    item.setAttribute("role", "option");
    item.onpointerdown = (event) => event.preventDefault();
    item.onclick = () => choose(k);
    return item;
  }));
  const typed = search.value.trim() !== "";
  openList(typed && listed.length > 0);
  byId("matches").textContent = !typed ? "" : rows.length === 1 ? "1 title" : `${rows.length.toLocaleString("en")} titles`;
  draw();
}

function openList(isOpen) {
  found.hidden = !isOpen;
  search.setAttribute("aria-expanded", String(isOpen));
  [...found.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === active)));
  if (isOpen && active >= 0) search.setAttribute("aria-activedescendant", `found-${active}`);
  else search.removeAttribute("aria-activedescendant");
}

function choose(k) {
  const i = listed[k];
  openList(false);
  if (narrow.matches) fold(false);
  reveal(i);
  select(i);
  goTo(i);
}

search.addEventListener("input", searchNow);
search.addEventListener("focus", () => { if (search.value) searchNow(); });
search.addEventListener("blur", () => openList(false));
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!listed.length) return;
    active = (active + (event.key === "ArrowDown" ? 1 : listed.length - 1)) % listed.length;
    openList(true);
    found.children[active].scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter") {
    if (active >= 0 && listed.length) choose(active);
  } else if (event.key === "Escape" && search.value) {
    search.value = "";
    searchNow();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeCard();
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});

// Colours, legend and filters.
function colourTitles() {
  const span = Math.max(newest - oldest, 1);
  const age = (year) => Math.round(Math.max(0, Math.min(1, (year - oldest) / span)) * (AGES - 1));
  for (let i = 0; i < data.n; i++) {
    let colour = OTHER;
    if (state.colourBy === "year") colour = years[i] ? age(yearOf(i)) : AGES;
    else if (state.colourBy === "group") colour = groups[i] ? groupColours[groups[i] - 1] : OTHER;
    else for (const k of labels.of(i)) if (k < HUES && (colour === OTHER || k > colour)) colour = k;
    if (state.colourBy === "label" && state.only >= 0 && labels.of(i).includes(state.only)) {
      colour = Math.min(state.only, OTHER);
    }
    colourOf[i] = colour;
  }
}

function entryCounts() {
  if (state.colourBy === "group") return Array.from(groupCounts);
  const counts = new Array(labels.names.length).fill(0);
  for (let i = 0; i < data.n; i++) for (const k of labels.of(i)) counts[k]++;
  return counts;
}

const NOTES = {
  label: "Click one to see only its titles. A title with several has the colour of the rarest.",
  group: "Click one to see only its titles.",
  year: "",
};

function fillLegend() {
  const isYear = state.colourBy === "year";
  byId("legend-note").textContent = NOTES[state.colourBy];
  byId("scale").hidden = !isYear;
  byId("scale").style.background = `linear-gradient(to right, ${view.ages.join(", ")})`;
  byId("entries").hidden = isYear;
  if (isYear) {
    const span = `${oldest} and before, to ${newest} and after; grey where unknown`;
    byId("legend-note").textContent = lastYear ? span : "No title has a year.";
    return;
  }
  const counts = entryCounts();
  const entries = state.colourBy === "group" ? data.groups.names : labels.names;
  const order = entries.map((_, k) => k).sort((a, b) => counts[b] - counts[a] || a - b);
  byId("entries").replaceChildren(...order.map((k) => {
    const button = element("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(k === state.only));
    const colour = state.colourBy === "group" ? groupColours[k] : k;
    const swatch = element("span", colour >= 8 && colour < HUES ? "swatch square" : "swatch");
    swatch.style.background = paint(colour);
    button.append(swatch, element("b", "", entries[k]), element("i", "", counts[k].toLocaleString("en")));
    button.onclick = () => {
      state.only = state.only === k ? -1 : k;
      for (const other of byId("entries").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(state.only === k));
      applyFilters();
    };
    const item = element("li");
    item.append(button);
    return item;
  }));
}

let pending = 0;
function applyFilters() {
  let count = 0;
  for (let i = 0; i < data.n; i++) {
    const year = yearOf(i);
    const inYears = year === null ? state.undated : year >= state.from && year <= state.to;
    let chosen = true;
    if (state.only >= 0 && state.colourBy === "label") chosen = labels.of(i).includes(state.only);
    if (state.only >= 0 && state.colourBy === "group") chosen = groups[i] === state.only + 1;
    shown[i] = inYears && chosen ? 1 : 0;
    count += shown[i];
  }
  colourTitles();
  const all = data.n.toLocaleString("en");
  byId("shown").textContent = count === data.n ? `${all} titles` : `${count.toLocaleString("en")} of ${all} titles`;
  clearTimeout(pending);
  pending = setTimeout(() => {
    computeLevels();
    draw();
  }, 120);
  draw();
}

function setYears(from, to, undated) {
  state.from = Math.min(from, to);
  state.to = Math.max(from, to);
  state.undated = undated;
  byId("from").value = from;
  byId("to").value = to;
  byId("undated").checked = undated;
  byId("range").textContent = `${state.from} to ${state.to}`;
}

function readYears() {
  setYears(Number(byId("from").value), Number(byId("to").value), byId("undated").checked);
  applyFilters();
}

function setUpYears() {
  for (const id of ["from", "to"]) {
    byId(id).min = data.firstYear;
    byId(id).max = lastYear;
    byId(id).addEventListener("input", readYears);
  }
  byId("undated").addEventListener("change", readYears);
  byId("undated-choice").hidden = !years.includes(0);
  byId("years").hidden = lastYear === 0;
  setYears(data.firstYear, lastYear, true);
}

for (const choice of document.getElementsByName("colour")) {
  choice.addEventListener("change", () => {
    state.colourBy = choice.value;
    state.only = -1;
    fillLegend();
    applyFilters();
  });
}
byId("in").onclick = () => zoomMiddle(1.7);
byId("out").onclick = () => zoomMiddle(1 / 1.7);
byId("whole").onclick = showWhole;
byId("fold").onclick = () => fold(byId("controls").hidden);

function fold(isOpen) {
  byId("controls").hidden = !isOpen;
  byId("fold").textContent = isOpen ? "Hide" : "Show";
  byId("fold").setAttribute("aria-expanded", String(isOpen));
  resize();
}

// The map is in the middle of what the panel leaves free.
function resize() {
  view.width = window.innerWidth;
  view.height = window.innerHeight;
  view.ratio = Math.min(window.devicePixelRatio || 1, 2);
  view.left = narrow.matches || byId("controls").hidden ? 0 : 288;
  canvas.width = Math.round(view.width * view.ratio);
  canvas.height = Math.round(view.height * view.ratio);
  draw();
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  for (const name of ["page", "ink", "halo", "other", "faint", "tile", "mark", "accent"]) view.colours[name] = colour(name);
  view.hues = colour("hues").split(/\s+/);
  view.ages = gradient(colour("ages").split(/\s+/), AGES);
  view.font = getComputedStyle(document.body).fontFamily;
}

function start() {
  view.context = canvas.getContext("2d", { alpha: false });
  readColours();
  setUpYears();
  fold(!narrow.matches);
  fit();
  fillLegend();
  applyFilters();
  computeLevels();
  byId("empty").hidden = data.n > 0;
  window.addEventListener("resize", resize);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    fillLegend();
    draw();
  });
  const asked = data.ids.findIndex((id) => `#${encodeURIComponent(id)}` === location.hash);
  if (asked >= 0) {
    select(asked);
    state.scale = nearScale();
    [state.x, state.y] = [x[asked] + aside()[0] / state.scale, y[asked] + aside()[1] / state.scale];
  }
  draw();
}

start();
