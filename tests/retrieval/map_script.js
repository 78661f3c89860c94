// Runs the script of a written page in Node, with stand-ins for the page and its canvas, and prints what it did.
// node map_script.js PAGE STEPS; the steps are statements that see the variables of the script.

const fs = require("node:fs");
const page = fs.readFileSync(process.argv[2], "utf-8");
const json = page.match(/<script id="data" type="application\/json">([\s\S]*?)<\/script>/)[1];
const script = page.match(/<script>\s*\(\(\) => \{\s*"use strict";([\s\S]*?)\}\)\(\);\s*<\/script>/)[1];

const calls = {};
const texts = [];
const context = new Proxy({}, {
  get: (target, name) => {
    if (name in target) return target[name];
    return (...values) => {
      calls[name] = (calls[name] || 0) + 1;
      if (name === "fillText") texts.push(values[0]);
      return name === "measureText" ? { width: 6 * values[0].length } : undefined;
    };
  },
});

class Element {
  constructor(tag, id) {
    Object.assign(this, { tag, id, children: [], style: {}, attributes: {}, listeners: {}, hidden: false, value: "" });
    Object.assign(this, { offsetWidth: 300, offsetHeight: 200 });
    this.classList = { add: () => {}, remove: () => {}, toggle: () => {} };
    this.own = "";
  }
  get textContent() {
    return this.own + this.children.map((child) => (typeof child === "string" ? child : child.textContent)).join("");
  }
  set textContent(text) { this.own = String(text); this.children = []; }
  set innerHTML(_) { throw new Error("innerHTML is set"); }
  append(...nodes) { this.children.push(...nodes); }
  replaceChildren(...nodes) { this.own = ""; this.children = nodes; }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(name, does) { (this.listeners[name] ||= []).push(does); }
  fire(name, event = {}) {
    const whole = { preventDefault() {}, stopPropagation() {}, button: 0, pointerId: 1, pointerType: "mouse", type: name };
    for (const does of this.listeners[name] || []) does({ ...whole, ...event });
  }
  getBoundingClientRect() { return { width: 200, height: 100 }; }
  querySelectorAll(tag) {
    return this.children.flatMap((child) => [...(child.tag === tag ? [child] : []), ...(child.querySelectorAll?.(tag) || [])]);
  }
  contains() { return false; }
  matches() { return false; }
  setPointerCapture() {}
  focus() {}
  getContext() { return context; }
}

const elements = {};
const byColour = ["label", "group", "year"].map((value) => Object.assign(new Element("input"), { value }));
global.document = Object.assign(new Element("document"), {
  documentElement: new Element("html"), body: new Element("body"), activeElement: null,
  getElementById: (id) => (elements[id] ||= Object.assign(new Element("div", id), id === "data" ? { own: json } : {})),
  createElement: (tag) => new Element(tag),
  getElementsByName: () => byColour,
});
const images = [];
global.Image = class { constructor() { images.push(this); this.complete = true; this.naturalWidth = 896; } };
global.window = Object.assign(new Element("window"), {
  innerWidth: 1288, innerHeight: 800, devicePixelRatio: 1,
  matchMedia: (query) => ({ matches: query.includes("reduced-motion"), addEventListener() {} }),
});
const css = page.match(/:root \{([\s\S]*?)\n\}/)[1];
global.getComputedStyle = () => ({
  fontFamily: "sans", getPropertyValue: (name) => (css.match(new RegExp(`${name}: ([^;]+);`)) || ["", ""])[1],
});
global.requestAnimationFrame = (does) => { does(0); };
global.setTimeout = (does) => { does(); return 0; };
global.clearTimeout = () => {};
global.history = { replaceState: (_, __, to) => { location.hash = to; } };
global.location = { hash: process.argv[4] || "" };

const out = new Function("calls", "texts", "elements", "images", "byColour", `"use strict";${script}\n{${process.argv[3]}}`)(
  calls, texts, elements, images, byColour,
);
console.log(JSON.stringify(out));
