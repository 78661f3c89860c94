// Moving about: wheel, drag, pinch, keys, and flights to a place.

const canvas = document.getElementById("map");
const isStill = window.matchMedia("(prefers-reduced-motion: reduce)");
let flight = 0;

function fit() {
  const width = view.width - view.left;
  state.x = SPAN / 2;
  state.y = SPAN / 2;
  state.scale = fitScale(width, view.height);
}

function fitScale(width, height) {
  const extent = (values) => {
    let [low, high] = [SPAN, 0];
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    return Math.max(high - low, SPAN / 100);
  };
  return clampScale(Math.min((width - 60) / extent(x), (height - 60) / extent(y)));
}

function clampScale(scale) {
  return Math.max(FIRST_SCALE / 2, Math.min(maxScale, scale));
}

// Zoom so that the place under the pointer stays.
function zoomAt(px, py, factor) {
  flight++;
  const [ux, uy] = toUnits(px, py);
  state.scale = clampScale(state.scale * factor);
  const [vx, vy] = toUnits(px, py);
  state.x += ux - vx;
  state.y += uy - vy;
  keepInside();
  draw();
}

function keepInside() {
  state.x = Math.max(0, Math.min(SPAN, state.x));
  state.y = Math.max(0, Math.min(SPAN, state.y));
}

function zoomMiddle(factor) {
  zoomAt(view.left + (view.width - view.left) / 2, view.height / 2, factor);
}

function pan(dx, dy) {
  flight++;
  state.x -= dx / state.scale;
  state.y -= dy / state.scale;
  keepInside();
  draw();
}

// Go to a place and scale: out, over and in again, or at once for people who want no motion.
function flyTo(ux, uy, scale) {
  const mine = ++flight;
  const begin = { x: state.x, y: state.y, scale: state.scale };
  const distance = Math.hypot(ux - begin.x, uy - begin.y);
  const wide = Math.min(begin.scale, scale, view.width / Math.max(distance, 1));
  const started = performance.now();
  const step = (now) => {
    if (mine !== flight) return;
    const t = isStill.matches ? 1 : Math.min(1, Math.max(0, now - started) / 650);
    const eased = t * t * (3 - 2 * t);
    const dip = 4 * eased * (1 - eased);
    const straight = Math.log(begin.scale) * (1 - eased) + Math.log(scale) * eased;
    state.scale = Math.exp(straight * (1 - dip) + Math.min(straight, Math.log(wide)) * dip);
    state.x = begin.x + (ux - begin.x) * eased;
    state.y = begin.y + (uy - begin.y) * eased;
    draw();
    if (t < 1) requestAnimationFrame(step);
  };
  if (isStill.matches) step(started);
  else requestAnimationFrame(step);
}

// A scale at which a title is seen with its neighbours as posters.
function nearScale() {
  return clampScale((12 * 2 ** 3 * Math.sqrt(Math.max(data.n, 1))) / SPAN);
}

// Go to a title; it comes to lie in the middle of what its card leaves free.
function goTo(i) {
  const scale = Math.max(state.scale, nearScale());
  flyTo(x[i] + aside()[0] / scale, y[i] + aside()[1] / scale, scale);
}

function aside() {
  if (card.hidden) return [0, 0];
  return narrow.matches ? [0, card.offsetHeight / 2] : [card.offsetWidth / 2, 0];
}

const pointers = new Map();
let moved = 0;

canvas.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  if (pointers.size === 1) moved = 0;
  hideHint();
});

canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  const now = [event.clientX, event.clientY];
  if (!before) {
    if (event.pointerType !== "touch") hover(...now);
    return;
  }
  const step = Math.hypot(now[0] - before[0], now[1] - before[1]);
  moved += step;
  if (pointers.size === 1) {
    if (moved > 4) {
      canvas.classList.add("moving");
      pan(now[0] - before[0], now[1] - before[1]);
    }
  } else if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const is = Math.hypot(now[0] - other[0], now[1] - other[1]);
    zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, Math.max(is, 1) / Math.max(was, 1));
    pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }
  pointers.set(event.pointerId, now);
});

function released(event) {
  const wasDown = pointers.delete(event.pointerId);
  canvas.classList.remove("moving");
  if (event.type !== "pointerup" || !wasDown || pointers.size || moved > 8) return;
  const i = titleAt(event.clientX, event.clientY, event.pointerType === "touch" ? 24 : 12);
  if (i >= 0) select(i);
  else closeCard();
}
canvas.addEventListener("pointerup", released);
canvas.addEventListener("pointercancel", released);
canvas.addEventListener("pointerleave", hideHint);
canvas.addEventListener("dblclick", (event) => zoomAt(event.clientX, event.clientY, 2));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
  hideHint();
  zoomAt(event.clientX, event.clientY, 2 ** Math.max(-1, Math.min(1, (-event.deltaY * lines) / 240)));
}, { passive: false });

const MOVES = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES[event.key];
  const pace = event.shiftKey ? 300 : 80;
  if (move) pan(move[0] * pace, move[1] * pace);
  else if (event.key === "+" || event.key === "=") zoomMiddle(1.5);
  else if (event.key === "-" || event.key === "_") zoomMiddle(1 / 1.5);
  else if (event.key === "0" || event.key === "Home") showWhole();
  else if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  if ((event.key === "Enter" || event.key === " ") && state.over >= 0) select(state.over, true);
  else lookAtMiddle();
});
canvas.addEventListener("focus", () => {
  if (canvas.matches(":focus-visible")) lookAtMiddle();
});

// With the keyboard, the title nearest to the middle is the one looked at.
function lookAtMiddle() {
  const [px, py] = [view.left + (view.width - view.left) / 2, view.height / 2];
  state.over = titleAt(px, py, 200);
  document.getElementById("said").textContent = state.over >= 0 ? inWords(state.over) : "";
  if (state.over >= 0) showHint(state.over);
  else hideHint();
  draw();
}

function showWhole() {
  flyTo(SPAN / 2, SPAN / 2, fitScale(view.width - view.left, view.height));
}

function hover(px, py) {
  const i = titleAt(px, py, 12);
  canvas.classList.toggle("over", i >= 0);
  if (i === state.over && (i < 0 || !hint.hidden)) return;
  state.over = i;
  if (i >= 0) showHint(i);
  else hideHint();
  draw();
}
