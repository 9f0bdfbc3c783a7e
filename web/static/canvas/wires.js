// One canvas below the nodes: groups, wires with what flows on them, and far away the nodes too.

import { along, curve, trace } from '../model/curve.js';
import { faultOf, outputName } from '../model/types.js';
import { headline, rateText } from '../net/now.js';
import { colours } from './colours.js';

const DOTS = 20;
const PULSE_MS = 600;
const AMBER = 0.8;

export class Wires {
  /** @param {any} app @param {HTMLCanvasElement} canvas */
  constructor(app, canvas) {
    this.app = app;
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
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
    this.lastPulse = now;
    for (const output of outputs) this.pulses.set(output, now);
    if (outputs.size) this.app.view.touch();
  }

  /** @param {number} time of the frame */
  draw(time) {
    const { view, scene } = this.app;
    const { context: c } = this;
    const sharp = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(view.width * sharp), Math.round(view.height * sharp)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const tint = colours();
    c.setTransform(sharp, 0, 0, sharp, 0, 0);
    c.clearRect(0, 0, view.width, view.height);
    this.dots();
    const scale = sharp * view.zoom;
    c.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
    const seen = view.seen(20);
    this.groups(c, tint);
    this.lines(c, tint, scene.wiresIn(seen), time);
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

  /** @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {string[]} ids @param {number} time */
  lines(c, tint, ids, time) {
    const { store, types, scene, selection, now, view } = this.app;
    const plain = new Path2D();
    /** @type {{wire: Wire, way: Curve, output: string, fault: string, full: boolean, chosen: boolean}[]} */
    const special = [];
    /** @type {{way: Curve, output: string, wire: Wire}[]} */
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
      shown.push({ way, output, wire });
    }
    c.lineWidth = view.far ? 1.5 / view.zoom / 1.6 : 2;
    c.strokeStyle = tint.wire;
    c.stroke(plain);
    for (const each of special) this.special(c, tint, each);
    if (now.running && !view.far) this.flowing(c, tint, shown, time);
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

  /** Pulses and rates. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {{way: Curve, output: string, wire: Wire}[]} shown @param {number} time */
  flowing(c, tint, shown, time) {
    const { now, view } = this.app;
    const dashes = new Path2D();
    let moving = false;
    // Of the wires from one output the straightest carries the figures: they are the same on all.
    /** @type {Map<string, Curve>} */
    const straightest = new Map();
    for (const { way, output, wire } of shown) {
      const key = `${wire.from}.${output}`;
      const best = straightest.get(key);
      if (!best || Math.abs(way.y2 - way.y1) < Math.abs(best.y2 - best.y1)) straightest.set(key, way);
      const began = this.pulses.get(key);
      const share = began === undefined ? 1 : (time - began) / PULSE_MS;
      if (began !== undefined && share < 1) {
        const [at, next] = [along(way, Math.max(0, share)), along(way, Math.min(1, share + 0.06))];
        dashes.moveTo(at[0], at[1]);
        dashes.lineTo(next[0], next[1]);
        moving = true;
      }
    }
    if (view.zoom >= 0.7) for (const [key, way] of straightest) this.words(c, tint, way, key);
    if (!moving) return;
    c.lineWidth = 4;
    c.lineCap = 'round';
    c.strokeStyle = tint.accent;
    c.stroke(dashes);
    c.lineCap = 'butt';
    view.touch();
  }

  /** The last value in the middle of a wire, and the rate below it. @param {CanvasRenderingContext2D} c @param {Record<string, string>} tint @param {Curve} way @param {string} key node.output */
  words(c, tint, way, key) {
    const config = this.app.store.nodes.get(key.slice(0, key.indexOf('.')))?.config;
    const text = headline(this.app.now.values.get(key), typeof config?.field === 'string' ? config.field : '').slice(0, 10);
    const speed = rateText(this.app.now.rateOf(key));
    if (!text && !speed) return;
    const room = way.c ? way.x2 - way.x1 : Math.abs(way.x2 - way.x1);
    const words = [text, speed].filter(Boolean);
    c.font = `11px ${tint.mono}`;
    const wide = Math.max(...words.map((each) => each.length)) * 6.7 + 8;
    if (room < 40 && way.c) return;
    const [x, y] = along(way, 0.55);
    const high = words.length * 14 + 2;
    c.fillStyle = tint.canvas;
    c.globalAlpha = 0.92;
    c.beginPath();
    c.roundRect(x - wide / 2, y - high / 2, wide, high, 4);
    c.fill();
    c.globalAlpha = 1;
    c.textAlign = 'center';
    c.textBaseline = 'middle';
    words.forEach((each, at) => {
      c.fillStyle = each === text ? tint.ink : tint.muted;
      c.fillText(each, x, y + (at - (words.length - 1) / 2) * 14 + 0.5);
    });
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
