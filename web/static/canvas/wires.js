// Two canvases below the nodes. One has groups, wires, and far away the nodes: it is drawn when one of
// them changes. The other has what flows on the wires, four times a second and oftener: it is drawn
// alone, since long curves cost most of a frame.

import { along, curve, trace } from '../model/curve.js';
import { faultOf, outputName } from '../model/types.js';
import { headline, rateText } from '../net/now.js';
import { colours } from './colours.js';

const DOTS = 20;
const PULSE_MS = 600;
const AMBER = 0.8;
const WORDS = 0.7; // zoom from which there are words on wires
const MOST_PULSES = 200; // wires in sight above which moving dashes tell nobody anything

/** @typedef {{way: Curve, output: string, wire: Wire, full: boolean}} Shown */

export class Wires {
  /** @param {any} app @param {HTMLCanvasElement} canvas */
  constructor(app, canvas) {
    this.app = app;
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const above = /** @type {HTMLCanvasElement} */ (canvas.cloneNode());
    above.id = 'flowing';
    canvas.after(above);
    this.above = above;
    above.hidden = true;
    this.flowContext = /** @type {CanvasRenderingContext2D} */ (above.getContext('2d'));
    /** Wires in sight that were drawn last. @type {Shown[]} */
    this.shown = [];
    /** Where words stand, by output. @type {{key: string, x: number, y: number, field: string, most: number}[] | null} */
    this.spots = null;
    this.written = 0;
    this.isBlank = true;
    /** The wire under the pointer. @type {string | null} */
    this.hover = null;
    /** The wire being drawn. @type {{from: Point, to: Point, ok: boolean, back: boolean} | null} */
    this.open = null;
    /** When the last message passed, by output. @type {Map<string, number>} */
    this.pulses = new Map();
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.lastPulse = 0;
    this.dotSize = '';
  }

  /** Messages passed these outputs. @param {Set<string>} outputs */
  pulse(outputs) {
    const now = performance.now();
    if (this.still.matches || this.app.view.far || document.hidden || now - this.lastPulse < 250) return;
    if (this.shown.length > MOST_PULSES) return;
    this.lastPulse = now;
    for (const output of outputs) this.pulses.set(output, now);
    if (outputs.size) this.app.view.flow();
  }

  /** @param {number} time of the frame @param {boolean} whole the lines too */
  draw(time, whole) {
    const { now } = this.app;
    if (whole || this.shown.some(({ wire, output, full }) => full !== (now.running && now.fill(wire, output) >= AMBER))) this.board();
    this.flowing(time);
  }

  /** Groups and lines. */
  board() {
    const { view, scene } = this.app;
    const { context: c } = this;
    const sharp = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(view.width * sharp), Math.round(view.height * sharp)];
    for (const canvas of [this.canvas, this.above]) {
      if (canvas.width === width && canvas.height === height) continue;
      canvas.width = width;
      canvas.height = height;
    }
    const tint = colours();
    c.setTransform(sharp, 0, 0, sharp, 0, 0);
    c.clearRect(0, 0, view.width, view.height);
    this.dots();
    const scale = sharp * view.zoom;
    c.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
    const seen = view.seen(20);
    this.groups(c, tint);
    this.lines(c, tint, scene.wiresIn(seen));
    if (view.far) this.blocks(c, tint, scene.nodesIn(seen));
    if (this.open) this.opened(c, tint);
  }

  /** The grid is the style sheet's, below this canvas: painted off the main thread. */
  dots() {
    const { view } = this.app;
    const step = DOTS * view.zoom;
    const size = view.zoom < 0.5 ? '0 0' : `${step}px ${step}px`;
    const place = `${-view.x * view.zoom}px ${-view.y * view.zoom}px`;
    const style = view.element.style;
    if (size !== this.dotSize) style.backgroundSize = this.dotSize = size;
    style.backgroundPosition = place;
  }

  /** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint */
  groups(c, tint) {
    const { scene, selection, view } = this.app;
    for (const { id, title, box } of scene.groups()) {
      const chosen = selection.group === id;
      c.beginPath();
      c.roundRect(box.x, box.y, box.w, box.h, 10);
      c.globalAlpha = 0.07;
      c.fillStyle = tint.accent;
      c.fill();
      c.globalAlpha = chosen ? 1 : 0.4;
      c.lineWidth = (chosen ? 1.5 : 1) / Math.min(1, view.zoom);
      c.strokeStyle = tint.accent;
      c.stroke();
      c.globalAlpha = 1;
      c.fillStyle = chosen ? tint.accent : tint.muted;
      const size = view.far ? Math.min(40, 12 / view.zoom) : 12;
      c.font = `600 ${size}px ${tint.font}`;
      c.textAlign = 'left';
      c.textBaseline = 'middle';
      c.fillText(title, box.x + 12, box.y + 14, box.w - 24);
    }
  }

  /** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {string[]} ids */
  lines(c, tint, ids) {
    const { store, types, scene, selection, now, view } = this.app;
    const plain = new Path2D();
    /** @type {{wire: Wire, way: Curve, output: string, fault: string, full: boolean, chosen: boolean}[]} */
    const special = [];
    /** @type {Shown[]} */
    const shown = [];
    for (const id of ids) {
      const wire = /** @type {Wire} */ (store.wires.get(id));
      const way = /** @type {Curve} */ (scene.ways.get(id));
      const chosen = selection.wires.has(id) || this.hover === id;
      if (view.far && !chosen) {
        trace(plain, way);
        continue;
      }
      const output = outputName(store, types, wire);
      const fault = faultOf(store, types, wire);
      const full = now.running && now.fill(wire, output) >= AMBER;
      if (fault || full || chosen) special.push({ wire, way, output, fault, full, chosen });
      else trace(plain, way);
      shown.push({ way, output, wire, full });
    }
    c.lineWidth = view.far ? 1.5 / view.zoom / 1.6 : 2;
    c.strokeStyle = tint.wire;
    c.stroke(plain);
    for (const each of special) this.special(c, tint, each);
    this.shown = shown;
    this.spots = null;
  }

  /** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {any} line */
  special(c, tint, { way, fault, full, chosen }) {
    const path = new Path2D();
    trace(path, way);
    c.lineWidth = full ? 3.5 : chosen ? 2.5 : 2;
    c.strokeStyle = fault ? tint.error : full ? tint.warn : tint.accent;
    c.setLineDash(fault ? [6, 4] : []);
    c.stroke(path);
    c.setLineDash([]);
    if (fault || full) {
      const [x, y] = along(way, 0.5);
      badge(c, tint, x, y, fault ? '×' : '!', fault ? tint.error : tint.warn);
    }
  }

  /** Pulses, values and rates. @param {number} time of the frame */
  flowing(time) {
    const { now, view } = this.app;
    const { flowContext: c, shown } = this;
    this.written = performance.now();
    const pulsing = time - this.lastPulse < PULSE_MS;
    const blank = !now.running || view.far || !shown.length || (view.zoom < WORDS && !pulsing);
    if (blank !== this.isBlank) this.above.hidden = this.isBlank = blank;
    if (blank) return;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.above.width, this.above.height);
    const scale = Math.min(2, window.devicePixelRatio || 1) * view.zoom;
    c.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
    const tint = colours();
    const dashes = new Path2D();
    let moving = false;
    for (const { way, output, wire } of shown) {
      const began = this.pulses.get(`${wire.from}.${output}`);
      const share = began === undefined ? 1 : (time - began) / PULSE_MS;
      if (share >= 1) continue;
      const [at, next] = [along(way, Math.max(0, share)), along(way, Math.min(1, share + 0.06))];
      dashes.moveTo(at[0], at[1]);
      dashes.lineTo(next[0], next[1]);
      moving = true;
    }
    if (view.zoom >= WORDS) this.words(c, tint);
    if (!moving) return;
    c.lineWidth = 4;
    c.lineCap = 'round';
    c.strokeStyle = tint.accent;
    c.stroke(dashes);
    c.lineCap = 'butt';
    view.flow();
  }

  /** Where the figures of each output stand: on the straightest of its wires, as they are the same on all. */
  placed() {
    /** @type {Map<string, Shown>} */
    const straightest = new Map();
    for (const each of this.shown) {
      const key = `${each.wire.from}.${each.output}`;
      const best = straightest.get(key);
      if (!best || Math.abs(each.way.y2 - each.way.y1) < Math.abs(best.way.y2 - best.way.y1)) straightest.set(key, each);
    }
    const spots = [];
    for (const [key, { way, wire }] of straightest) {
      if (way.c && way.x2 - way.x1 < 40) continue;
      const named = this.app.scene.ports(wire.from).filter((/** @type {any} */ port) => port.side === 'out').length > 1;
      const [x, y] = along(way, named ? 0.72 : 0.55); // beside the name of the output
      const field = this.app.store.nodes.get(wire.from)?.config?.field;
      const most = way.c ? Math.max(5, Math.floor((way.x2 - way.x1 - (named ? 56 : 16)) / 6.7)) : 10;
      spots.push({ key, x, y, field: typeof field === 'string' ? field : '', most: Math.min(10, most) });
    }
    return spots;
  }

  /** The last value in the middle of a wire, and the rate below it. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint */
  words(c, tint) {
    const { now } = this.app;
    // One font and one colour after the other, for all: each change of them costs more than a word.
    c.font = `11px ${tint.mono}`;
    c.textAlign = 'center';
    c.textBaseline = 'middle';
    c.fillStyle = tint.canvas;
    /** @type {[string, number, number][][]} */
    const [values, rates] = [[], []];
    for (const { key, x, y, field, most } of (this.spots ??= this.placed())) {
      const whole = headline(now.values.get(key), field);
      const text = whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
      const speed = rateText(now.rateOf(key));
      if (!text && !speed) continue;
      const wide = Math.max(text.length, speed.length) * 6.7 + 8;
      const both = text && speed;
      const high = both ? 30 : 16;
      c.fillRect(x - wide / 2, y - high / 2, wide, high);
      if (text) values.push([text, x, y + (both ? -6.5 : 0.5)]);
      if (speed) rates.push([speed, x, y + (both ? 7.5 : 0.5)]);
    }
    for (const [colour, list] of /** @type {const} */ ([[tint.ink, values], [tint.muted, rates]])) {
      c.fillStyle = colour;
      for (const [text, x, y] of list) c.fillText(text, x, y);
    }
    if (now.wires.size) this.strains(c, tint);
  }

  /** Below wires with a queue of their own: how much waits, and what was dropped. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint */
  strains(c, tint) {
    for (const { way, output, wire } of this.shown) {
      const words = this.app.now.strain(wire, output);
      const [x, y] = words.length ? along(way, 0.55) : [0, 0];
      words.forEach((/** @type {string} */ each, /** @type {number} */ at) => {
        c.fillStyle = each.endsWith('dropped') ? tint.error : tint.muted;
        c.fillText(each, x, y + 38 + at * 14);
      });
    }
  }

  /** Nodes as blocks of their category's colour. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {string[]} ids */
  blocks(c, tint, ids) {
    const { store, types, scene, selection } = this.app;
    /** @type {Map<string, Path2D>} */
    const paths = new Map();
    const [chosen, broken] = [new Path2D(), new Path2D()];
    for (const id of ids) {
      const box = /** @type {Drawn} */ (scene.boxes.get(id));
      const category = types.get(store.nodes.get(id)?.type ?? '')?.category ?? 'debug';
      let path = paths.get(category);
      if (!path) paths.set(category, (path = new Path2D()));
      path.rect(box.x, box.y, box.w, box.h);
      if (selection.nodes.has(id)) chosen.rect(box.x - 6, box.y - 6, box.w + 12, box.h + 12);
      if (this.app.worst(id)?.severity === 'error') broken.rect(box.x - 3, box.y - 3, box.w + 6, box.h + 6);
    }
    for (const [category, path] of paths) {
      c.fillStyle = tint.node;
      c.fill(path);
      c.globalAlpha = 0.55;
      c.fillStyle = tint[category] ?? tint.debug;
      c.fill(path);
      c.globalAlpha = 1;
    }
    c.lineWidth = 2 / this.app.view.zoom;
    c.strokeStyle = tint.error;
    c.stroke(broken);
    c.strokeStyle = tint.accent;
    c.stroke(chosen);
  }

  /** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint */
  opened(c, tint) {
    if (!this.open) return;
    const { from, to, ok, back } = this.open;
    const path = new Path2D();
    trace(path, back ? curve(to, from) : curve(from, to));
    c.lineWidth = 2.5;
    c.strokeStyle = ok ? tint.accent : tint.error;
    c.setLineDash(ok ? [] : [6, 4]);
    c.stroke(path);
    c.setLineDash([]);
  }
}

/** Words on a wire, one below the other. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {ArrayLike<number>} at @param {string[]} words @param {(word: string) => string} colour */
function label(c, tint, at, words, colour) {
  const [x, y] = [at[0], at[1]];
  const wide = Math.max(...words.map((each) => each.length)) * 6.7 + 8;
  const high = words.length * 14 + 2;
  c.fillStyle = tint.canvas;
  c.globalAlpha = 0.92;
  c.beginPath();
  c.roundRect(x - wide / 2, y - high / 2, wide, high, 4);
  c.fill();
  c.globalAlpha = 1;
  words.forEach((each, row) => {
    c.fillStyle = colour(each);
    c.fillText(each, x, y + (row - (words.length - 1) / 2) * 14 + 0.5);
  });
}

/** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {number} x @param {number} y @param {string} text @param {string} colour */
function badge(c, tint, x, y, text, colour) {
  c.fillStyle = tint.node;
  c.strokeStyle = colour;
  c.lineWidth = 1.5;
  c.beginPath();
  c.arc(x, y, 8, 0, Math.PI * 2);
  c.fill();
  c.stroke();
  c.fillStyle = colour;
  c.font = `700 12px ${tint.font}`;
  c.textAlign = 'center';
  c.textBaseline = 'middle';
  c.fillText(text, x, y + 0.5);
}
