// Pinned numbers: a small line beside a node with the newest number and its unit, and the same in Data.
//
// Pins are this person's look at a flow, not a part of it: the browser keeps them by user and flow. A
// viewer may pin, two people do not disturb each other, and the layout file in git knows nothing of it.

import { titleOf } from '../model/types.js';
import { h, icon, put } from './dom.js';
import { remember, remembered } from './memory.js';
import { figure } from './plot.js';
import { spark } from './spark.js';

/** @typedef {{output: string, path: string, unit: string}} Kept */
/** @typedef {Kept & {key: string, points: number[][], heard: string, element: HTMLElement, place: string, stop: () => void, views: Set<{line: HTMLCanvasElement, value: HTMLElement}>}} Pin */

const MOST = 24; // a socket may listen to 64 topics
const KEPT = 3000; // points: five minutes at ten a second
const SPARK = 80;
const HIGH = 30;

export class Pins {
  /** @param {any} app */
  constructor(app) {
    this.app = app;
    this.name = `pins:${app.page.user?.name ?? ''}:${app.id}`;
    /** @type {Map<string, Pin>} */
    this.all = new Map();
    this.running = app.now.running;
    this.entry = app.state.deployed?.entry;
    for (const kept of readKept(this.name)) this.make(kept);
    app.view.drawers.add(() => this.draw());
    app.on('running', () => this.listen(true));
    app.on('state', (/** @type {FlowState} */ state) => {
      // A deploy may have brought the node that a pin waits for.
      if (state.deployed?.entry === this.entry) return;
      this.entry = state.deployed?.entry;
      this.listen(true);
    });
    document.addEventListener('visibilitychange', () => this.listen());
    app.view.touch();
  }

  /** @param {Kept} kept */
  make({ output, path, unit }) {
    const key = `${output}/${path}`;
    const line = h('canvas', { 'aria-hidden': 'true' });
    const value = h('span', { class: 'num' }, '…');
    const element = h('button', { type: 'button', class: 'pin', on: { click: () => this.open(key), pointerdown: (/** @type {Event} */ event) => event.stopPropagation(), keydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Delete' || event.key === 'Backspace') this.remove(key);
      if (['Delete', 'Backspace', 'Enter', ' '].includes(event.key)) event.stopPropagation();
    } } }, line, value);
    /** @type {Pin} */
    const pin = { output, path, unit, key, points: [], heard: '', element, place: '', stop: () => undefined, views: new Set([{ line, value }]) };
    this.all.set(key, pin);
    this.app.cards.world.append(element);
    this.hear(pin);
  }

  /** Hear the numbers of a pin while the page is in sight; nobody's look costs nothing. @param {Pin} pin */
  hear(pin) {
    pin.stop();
    pin.stop = () => undefined;
    if (document.hidden || !this.app.now.running) return;
    pin.stop = this.app.live.sub(`flow/${this.app.id}/pin/${pin.key}`, (/** @type {{points: number[][], unit: string}} */ d) => {
      const last = pin.points.at(-1)?.[0] ?? 0;
      pin.points.push(...d.points.filter((point) => point[0] >= last && point[0] !== last));
      if (pin.points.length > KEPT) pin.points.splice(0, pin.points.length - KEPT);
      pin.heard = d.unit || pin.heard;
      this.show(pin);
    });
  }

  /** @param {boolean} [anew] */
  listen(anew = false) {
    for (const pin of this.all.values()) {
      if (anew || document.hidden) pin.stop();
      this.hear(pin);
      if (!this.app.now.running) this.show(pin);
    }
  }

  /** @param {Pin} pin */
  unit(pin) {
    return pin.unit || pin.heard;
  }

  /** The number now, with its unit. @param {Pin} pin */
  text(pin) {
    const last = pin.points.at(-1);
    return last ? `${figure(last[1])} ${this.unit(pin)}`.trim() : this.app.now.running ? '…' : 'stopped';
  }

  /** @param {Pin} pin */
  show(pin) {
    const values = pin.points.slice(-SPARK).map((point) => point[1]);
    const text = this.text(pin);
    for (const { line, value } of pin.views) {
      if (!line.isConnected || (line.closest('.pin')?.hasAttribute('hidden'))) continue;
      if (value.textContent !== text) value.textContent = text;
      spark(line, values, false);
    }
    const node = pin.output.slice(0, pin.output.indexOf('.'));
    pin.element.setAttribute('aria-label', `${pin.path} of ${titleOf(this.app.store.nodes.get(node) ?? { type: '' }, node)}: ${text}. Open the chart`);
    pin.element.title = `${pin.path} of ${pin.output}`;
    this.app.tell('pin', pin);
  }

  /** Put each pin below its node; far away there are none. */
  draw() {
    /** @type {Map<string, number>} */
    const rows = new Map();
    for (const pin of this.all.values()) {
      const id = pin.output.slice(0, pin.output.indexOf('.'));
      const box = this.app.scene.boxes.get(id);
      const row = rows.get(id) ?? 0;
      rows.set(id, row + 1);
      const place = !box || this.app.view.far ? '' : `${box.x},${box.y + box.h + 6 + row * HIGH + (this.app.now.under(id) ? 18 : 0)}`;
      if (place === pin.place && pin.element.hidden === !place) continue;
      pin.place = place;
      pin.element.hidden = !place;
      if (!place) continue;
      const [x, y] = place.split(',');
      pin.element.style.left = `${x}px`;
      pin.element.style.top = `${y}px`;
      this.show(pin);
    }
  }

  /** @param {string} output @param {string} path */
  toggle(output, path) {
    const key = `${output}/${path}`;
    if (this.all.has(key)) return this.remove(key), this.app.say(`${path} of ${output} is no longer pinned.`);
    if (this.all.size >= MOST) return this.app.say(`${MOST} numbers are pinned: take one away first.`, 'error');
    this.make({ output, path, unit: '' });
    this.keep();
    this.app.say(`${path} of ${output} is pinned.`, 'info', { label: 'Open chart', run: () => this.open(key) });
  }

  /** @param {string} key */
  remove(key) {
    const pin = this.all.get(key);
    if (!pin) return;
    pin.stop();
    const had = document.activeElement === pin.element;
    pin.element.remove();
    this.all.delete(key);
    this.keep();
    if (had) document.getElementById('canvas')?.focus({ preventScroll: true });
  }

  keep() {
    const kept = [...this.all.values()].map(({ output, path, unit }) => ({ output, path, unit }));
    remember(this.name, kept.length ? JSON.stringify(kept) : '');
    this.app.view.touch();
    this.app.tell('pins');
  }

  /** @param {string} key */
  async open(key) {
    const pin = this.all.get(key);
    if (pin) (await import('./livechart.js')).openChart(this, pin);
  }

  /** The pins of an output as rows of the Data tab. @param {string} output */
  rows(output) {
    return [...this.all.values()].filter((pin) => pin.output === output).map((pin) => {
      const view = { line: h('canvas', { 'aria-hidden': 'true' }), value: h('b', { class: 'num' }, this.text(pin)) };
      for (const old of pin.views) if (!old.line.isConnected) pin.views.delete(old);
      pin.views.add(view);
      queueMicrotask(() => this.show(pin));
      return h('div', { class: 'pin-row' }, h('button', { type: 'button', class: 'plain', title: 'Open the chart', on: { click: () => this.open(pin.key) } }, h('span', { class: 'mono' }, pin.path), view.line, view.value), h('button', { type: 'button', class: 'plain tiny', title: 'Unpin', 'aria-label': `Unpin ${pin.path}`, on: { click: () => this.remove(pin.key) } }, icon('close')));
    });
  }
}

/** @param {string} name @returns {Kept[]} */
function readKept(name) {
  try {
    const found = JSON.parse(remembered(name) || '[]');
    return found.filter((/** @type {any} */ each) => typeof each?.output === 'string' && typeof each.path === 'string').slice(0, MOST).map((/** @type {any} */ each) => ({ output: each.output, path: each.path, unit: String(each.unit ?? '').slice(0, 12) }));
  } catch {
    return [];
  }
}

/** The pins of an editor, made when first asked for. @param {any} app @returns {Pins} */
export function pinsOf(app) {
  return (app.pins ??= new Pins(app));
}

/** Ask which number to pin, of the wire under the pointer, the chosen wire or the chosen node. @param {any} app */
export async function askPin(app) {
  const { numbersIn } = await import('./jsontree.js');
  const { outputName } = await import('../model/types.js');
  const wire = app.store.wires.get(app.wires.hover ?? app.selection.wire);
  const id = app.selection.only ?? app.selection.focus;
  const outputs = wire ? [`${wire.from}.${outputName(app.store, app.types, wire)}`] : (app.scene.boxes.get(id)?.outs ?? []).map((/** @type {string} */ out) => `${id}.${out}`);
  if (!app.now.running || !outputs.length) return app.say(outputs.length ? 'The flow is not running: deploy it first.' : 'Nothing leaves this node.');
  /** @type {Map<string, {output: string, path: string, value: number}>} */
  const found = new Map();
  // The first question begins to look; a message may take a moment to come by.
  for (let tries = 0; tries < 8 && !found.size; tries++) {
    if (tries) await new Promise((done) => setTimeout(done, 300));
    for (const output of outputs) {
      const { samples } = await app.api.get(app.api.flow(app.id, `/wires/${encodeURIComponent(output)}/samples?last=5`));
      for (const { message } of samples) for (const [path, value] of numbersIn(message?.payload)) found.set(`${output}/${path}`, { output, path, value });
    }
  }
  const pins = pinsOf(app);
  const list = [...found.values()];
  if (!list.length) return app.say('No number has passed here yet.');
  if (list.length === 1 && !pins.all.size) return pins.toggle(list[0].output, list[0].path);
  const { pick } = await import('./pick.js');
  await pick({
    label: 'Pin a number', placeholder: 'Field', foot: ['Enter pins or unpins'],
    parts: (query) => [{ items: list.filter((each) => each.path.toLowerCase().includes(query.toLowerCase())).map((each) => ({ name: each.path, note: `${each.output}${pins.all.has(`${each.output}/${each.path}`) ? ' · pinned' : ''}`, side: figure(each.value), picture: icon('pin'), run: () => pins.toggle(each.output, each.path) })) }],
  });
}

/** Ask which pin's chart to open. @param {any} app */
export async function askChart(app) {
  const pins = pinsOf(app);
  const { pick } = await import('./pick.js');
  await pick({
    label: 'Open a pinned chart', placeholder: 'Field or node', none: 'Nothing is pinned: Shift+P pins a number.',
    parts: (query) => [{ items: [...pins.all.values()].filter((pin) => pin.key.toLowerCase().includes(query.toLowerCase())).map((pin) => ({ name: pin.path, note: pin.output, side: pins.text(pin), picture: icon('series'), run: () => void pins.open(pin.key) })) }],
  });
}

/** A section of the Data tab with the pins of an output, drawn anew when they change. @param {any} app @param {string} output @param {HTMLElement} place */
export function showRows(app, output, place) {
  const draw = () => put(place, app.pins?.rows(output) ?? []);
  draw();
  return app.on('pins', draw);
}
