// Nodes as HTML: only those in sight have an element, elements are used again, and far away there
// are none. The one with the focus always has an element, so that keys reach it anywhere.

import { brief } from '../model/brief.js';
import { inputAt, noteText, outputAt } from '../model/size.js';
import { ERROR, titleOf } from '../model/types.js';
import { h, icon, later, put, tile } from '../ui/dom.js';

const MARGIN = 96; // pixels around the window that have elements too

/** What is shown of a node; equal texts mean an equal card. @typedef {{element: HTMLElement, key: string, place: string, under: string}} Card */

export class Cards {
  /** @param {any} app @param {HTMLElement} world */
  constructor(app, world) {
    this.app = app;
    this.world = world;
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** @type {HTMLElement[]} */
    this.spare = [];
    /** @type {Box | null} */
    this.covered = null;
    this.wasFar = false;
    /** Ids whose card must be looked at again. @type {Set<string>} */
    this.stale = new Set();
    /** While a wire is drawn: which nodes may take it. @type {((id: string) => boolean) | null} */
    this.allowed = null;
    /** @type {string | null} */
    this.target = null;
    /** @type {Set<string>} */
    this.dragged = new Set();
    this.transform = '';
    this.zoom = 0;
    this.rests = later(() => this.world.classList.remove('moving'), 160);
  }

  /** @param {Iterable<string>} ids */
  touch(ids) {
    for (const id of ids) this.stale.add(id);
    this.covered = null;
    this.app.view.touch();
  }

  /** What was told under these nodes may be other now; nothing else is. @param {Iterable<string>} ids */
  told(ids) {
    for (const id of ids) {
      const card = this.cards.get(id);
      if (card && JSON.stringify(this.app.now.under(id)) !== card.under) this.stale.add(id);
    }
    if (this.stale.size) this.app.view.flow();
  }

  /** All cards, from the beginning. */
  all() {
    this.touch(this.cards.keys());
  }

  draw() {
    const { view, scene, selection } = this.app;
    const style = this.world.style;
    const [x, y] = [-view.x * view.zoom, -view.y * view.zoom];
    // Whole pixels where nothing is scaled: letters stay sharp.
    const [tx, ty] = view.zoom === 1 ? [Math.round(x), Math.round(y)] : [x, y];
    const transform = `translate(${tx}px, ${ty}px) scale(${view.zoom})`;
    if (transform !== this.transform) {
      // While the camera pans the cards are one picture that is moved; a zoom draws them anew.
      this.world.classList.toggle('moving', view.zoom === this.zoom);
      this.transform = transform;
      this.zoom = view.zoom;
      style.transform = transform;
      this.rests();
    }
    const seen = view.seen();
    if (this.covered && view.far === this.wasFar && inside(seen, this.covered)) {
      this.refresh();
      return;
    }
    this.wasFar = view.far;
    this.covered = view.seen(MARGIN);
    const wanted = new Set(view.far ? [] : scene.nodesIn(this.covered));
    if (selection.focus && scene.boxes.has(selection.focus)) wanted.add(selection.focus);
    for (const [id, card] of this.cards) {
      if (wanted.has(id)) continue;
      if (card.element.contains(document.activeElement)) continue;
      card.element.remove();
      this.cards.delete(id);
      if (this.spare.length < 200) this.spare.push(card.element);
    }
    this.refresh();
    /** @type {HTMLElement[]} */
    const added = [];
    for (const id of wanted) if (!this.cards.has(id)) added.push(this.make(id).element);
    if (added.length) this.world.append(...added);
  }

  refresh() {
    for (const id of this.stale) {
      const card = this.cards.get(id);
      if (!card) continue;
      if (this.app.scene.boxes.has(id)) this.fill(id, card);
      else {
        card.element.remove();
        this.cards.delete(id);
      }
    }
    this.stale.clear();
  }

  /** @param {string} id @returns {Card} */
  make(id) {
    const element = this.spare.pop() ?? h('div', { role: 'group', tabIndex: -1, 'aria-roledescription': 'node' });
    const card = { element, key: '', place: '', under: '' };
    element.dataset.id = id;
    this.cards.set(id, card);
    this.fill(id, card);
    return card;
  }

  /** The element of a node, made if need be. @param {string} id */
  element(id) {
    let card = this.cards.get(id);
    if (!card && this.app.scene.boxes.has(id)) {
      card = this.make(id);
      this.world.append(card.element);
    }
    return card?.element ?? null;
  }

  /** @param {string} id @param {Card} card */
  fill(id, card) {
    const { app } = this;
    const box = /** @type {Drawn} */ (app.scene.boxes.get(id));
    const spec = /** @type {NodeSpec} */ (app.store.nodes.get(id));
    const place = `${box.x},${box.y},${box.w},${box.h}`;
    if (place !== card.place) {
      card.place = place;
      // Not by a transform: hundreds of those cost every frame of a pan.
      card.element.style.left = `${box.x}px`;
      card.element.style.top = `${box.y}px`;
      card.element.style.width = `${box.w}px`;
      card.element.style.height = `${box.h}px`;
    }
    const type = app.types.get(spec.type);
    const worst = app.worst(id);
    const under = app.now.under(id);
    card.under = JSON.stringify(under);
    const runs = type?.kind === 'source' && type.family === 'timer' && app.can('deploy') && app.now.running;
    const wired = new Set(app.store.out(id).map((/** @type {Wire} */ wire) => wire.output));
    const changed = app.changedNodes.has(id);
    const fresh = app.fresh.has(id);
    const key = JSON.stringify([spec, box.outs, box.error, worst?.what, fresh, under, runs, wired.has(ERROR), changed, Boolean(type)]);
    if (key !== card.key) {
      card.key = key;
      this.content(id, card.element, { spec, type, box, worst, under, runs, wired, changed, fresh });
    }
    const chosen = app.selection.nodes.has(id);
    const names = ['node'];
    if (box.note) names.push('note');
    if (chosen) names.push('selected');
    if (spec.disabled) names.push('disabled');
    if (worst?.severity === 'error' && !fresh) names.push('broken');
    if (this.dragged.has(id)) names.push('dragged');
    if (this.allowed && !this.allowed(id)) names.push('cannot');
    if (this.target === id) names.push('target');
    card.element.className = names.join(' ');
    card.element.tabIndex = app.selection.focus === id ? 0 : -1;
  }

  /** @param {string} id @param {HTMLElement} element @param {any} shown */
  content(id, element, { spec, type, box, worst, under, runs, wired, changed, fresh }) {
    const title = titleOf(spec, id);
    element.setAttribute('aria-label', this.app.describe(id));
    if (box.note) {
      put(element, h('span', { class: 'title' }, noteText(spec)));
      return;
    }
    const line = type ? brief(spec, type) : spec.type;
    put(
      element,
      tile(type),
      h('span', { class: 'words' }, h('span', { class: 'title' }, title), h('span', { class: 'line' }, line)),
      runs && h('button', { type: 'button', class: 'run', tabIndex: -1, title: 'Run now', 'aria-label': `Run ${title} now`, data: { run: id } }, icon('play')),
      mark(spec, type, worst, changed, fresh),
      box.input && port('in', '', 0, inputAt(box)),
      box.outs.map((/** @type {string} */ output, /** @type {number} */ at) => port('out', output, box.w, outputAt(box, at, box.outs.length), kindOf(type, output))),
      box.outs.length > 1 && box.outs.map((/** @type {string} */ output, /** @type {number} */ at) => name(output, outputAt(box, at, box.outs.length))),
      box.error && !box.outs.includes(ERROR) && port('out', ERROR, box.w - 24, box.h, `error${wired.has(ERROR) ? ' wired' : ''}`),
      under && h('span', { class: `under is-${under.level}` }, under.level !== 'muted' && icon(under.level === 'error' ? 'cross' : 'warning'), under.text),
    );
  }
}

/** State as icon and word, never colour alone. @param {NodeSpec} spec @param {NodeType | undefined} type @param {Finding | undefined} worst @param {boolean} changed @param {boolean} fresh made just now: not a fault yet, but to be set up */
function mark(spec, type, worst, changed, fresh) {
  const made = (/** @type {string} */ picture, /** @type {string} */ level, /** @type {string} */ text) =>
    h('span', { class: `mark is-${level}`, title: text }, icon(picture), h('span', { class: 'unseen' }, text));
  if (!type) return made('help', 'error', `The type ${spec.type} is not installed; its data is kept.`);
  if (worst?.severity === 'error') return made('warning', fresh ? 'warn' : 'error', fresh ? `Needs configuration: ${worst.what}` : worst.what);
  if (spec.disabled) return made('pause', 'muted', 'Disabled');
  if (worst) return made('warning', 'warn', worst.what);
  return changed && h('span', { class: 'mark', title: 'Changed since the last deploy' }, h('span', { class: 'swatch' }), h('span', { class: 'unseen' }, 'Changed'));
}

/** @param {NodeType | undefined} type @param {string} output */
function kindOf(type, output) {
  if (type?.family === 'threshold' || output === 'raised' || output === 'cleared') return 'event';
  return type?.family === 'window' || type?.family === 'csv' ? 'table' : '';
}

/** @param {'in' | 'out'} side @param {string} output @param {number} x @param {number} y @param {string} [kind] */
function port(side, output, x, y, kind = '') {
  const element = h('span', { class: `port ${side} ${kind}`, title: side === 'in' ? 'Input' : output, data: { side, output } });
  element.style.left = `${x - 1}px`;
  element.style.top = `${y - 1}px`;
  return element;
}

/** @param {string} output @param {number} y */
function name(output, y) {
  const element = h('span', { class: 'port-name', 'aria-hidden': 'true' }, output);
  element.style.top = `${y - 1}px`;
  return element;
}

/** @param {Box} inner @param {Box} outer */
function inside(inner, outer) {
  return inner.x >= outer.x && inner.y >= outer.y && inner.x + inner.w <= outer.x + outer.w && inner.y + inner.h <= outer.y + outer.h;
}
