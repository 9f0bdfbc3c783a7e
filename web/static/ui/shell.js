// The frame: which panels stand open, what is in their tabs, and buttons that run actions.

import { at, h, icon, put, tabs } from './dom.js';
import { remember, remembered } from './memory.js';

// Panels are loaded when they are first looked at. Each gives `show(app, element, tools)` and answers
// with what to do when it is left.
/** @type {Record<string, () => Promise<{show: (app: any, element: HTMLElement, tools: HTMLElement) => (() => void) | void}>>} */
const PANELS = {
  add: () => import('./add.js'),
  outline: () => import('./outline.js'),
  flows: () => import('./flowlist.js'),
  settings: () => import('./settings.js'),
  data: () => import('./data.js'),
  tests: () => import('./tests.js'),
  docs: () => import('./docs.js'),
  problems: () => import('./problems.js'),
  debug: () => import('./debug.js'),
  history: () => import('./history.js'),
  log: () => import('./log.js'),
};

const NARROW = 1100;
const PHONE = 700;

/** One place that shows one panel at a time. */
class Slot {
  /** @param {any} app @param {string} tablist @param {string} body @param {HTMLElement} [tools] */
  constructor(app, tablist, body, tools) {
    this.app = app;
    this.body = at(body);
    this.tools = tools ?? h('div');
    this.name = '';
    /** @type {(() => void) | void} */
    this.leave = undefined;
    const list = /** @type {HTMLElement} */ (document.querySelector(tablist));
    this.select = tabs(list, (name) => void this.show(name));
  }

  /** @param {string} name */
  async show(name) {
    if (name === this.name) return;
    this.name = name;
    this.body.setAttribute('aria-labelledby', `tab-${name}`);
    const panel = await PANELS[name]();
    if (this.name !== name) return;
    this.leave?.();
    put(this.tools);
    const inside = h('div', { class: `panel-${name}` });
    put(this.body, inside);
    this.body.scrollTop = 0;
    this.leave = panel.show(this.app, inside, this.tools);
  }

  hide() {
    this.leave?.();
    this.leave = undefined;
    this.name = '';
    put(this.body);
  }

  focus() {
    const inside = /** @type {HTMLElement | null} */ (this.body.querySelector('.slot :is(input, select, textarea, button)') ?? this.body.querySelector('input, [tabindex="0"], button, textarea, select'));
    (inside ?? this.body).focus();
  }
}

export class Shell {
  /** @param {any} app */
  constructor(app) {
    this.app = app;
    this.root = at('app');
    this.left = new Slot(app, '.left [role=tablist]', 'left-body');
    this.right = new Slot(app, '#inspector-tabs', 'inspector-body');
    this.drawer = new Slot(app, '.drawer [role=tablist]', 'drawer-body', at('drawer-tools'));
    const narrow = innerWidth < NARROW;
    if (narrow || remembered('left') === 'folded') this.root.dataset.left = 'folded';
    if (narrow || remembered('right') === 'folded') this.root.dataset.right = 'folded';
    // Rings of focus are for keys: a press takes them away, the next key brings them back.
    document.addEventListener('pointerdown', () => (document.documentElement.dataset.pointer = 'true'), true);
    document.addEventListener('keydown', () => delete document.documentElement.dataset.pointer, true);
    document.addEventListener('click', (event) => this.click(event));
    document.addEventListener('keydown', (event) => this.escape(event));
    app.on('panel', (/** @type {any} */ what) => this.panel(what));
    app.on('selection', () => this.head());
    app.on('changed', (/** @type {Changed} */ changed) => (changed.head || changed.all || changed.nodes.size) && this.head());
    app.on('check', () => this.head());
    app.on('locked', () => this.locked());
    app.view.movers.add(() => this.zoomed());
    if (app.readOnly) at('tab-add').hidden = true;
    this.head();
    this.zoomed();
  }

  /** Fill the panels, once the flow is drawn. */
  show() {
    this.left.select(innerWidth < PHONE || this.app.readOnly ? 'outline' : 'add');
    this.right.select('settings');
  }

  /** Everything is loaded. */
  began() {
    this.app.on('changed', () => void this.empty());
    void this.empty();
    this.once('hover', (/** @type {any} */ over) => over.id, async (/** @type {any} */ over) => {
      (await import('./wirecard.js')).wireCard(this.app);
      this.app.tell('hover', over);
    });
    if (remembered(`pins:${this.app.page.user?.name ?? ''}:${this.app.id}`)) void import('./pins.js').then(({ pinsOf }) => pinsOf(this.app));
    void this.map();
    const canvas = at('canvas');
    canvas.addEventListener('blur', () => canvas.classList.remove('quiet'));
    if (document.activeElement !== document.body || innerWidth < PHONE) return;
    // Keys work at once; the ring is for those who came here by key.
    canvas.classList.add('quiet');
    canvas.focus({ preventScroll: true });
  }

  /** Wait for news of a kind that matter, the first time. @param {string} what @param {(data: any) => any} matters @param {(data: any) => void} work */
  once(what, matters, work) {
    const stop = this.app.on(what, (/** @type {any} */ data) => {
      if (!matters(data)) return;
      stop();
      work(data);
    });
  }

  /** The map in the corner, from when some of the flow is out of sight. */
  async map() {
    const { app } = this;
    const look = () => {
      const [all, seen] = [app.scene.bounds(), app.view.seen()];
      if (!all || (all.x >= seen.x && all.y >= seen.y && all.x + all.w <= seen.x + seen.w && all.y + all.h <= seen.y + seen.h)) return;
      app.view.movers.delete(look);
      stop();
      void import('./minimap.js').then(({ minimap }) => minimap(app));
    };
    const stop = app.on('changed', look);
    app.view.movers.add(look);
    look();
  }

  async empty() {
    const is = this.app.store.nodes.size === 0;
    const place = at('empty');
    if (is === !place.hidden) return;
    place.hidden = !is;
    if (is) (await import('./empty.js')).showEmpty(this.app, place);
  }

  /** @param {MouseEvent} event */
  click(event) {
    const button = /** @type {HTMLElement} */ (event.target).closest('[data-action]');
    if (button && !(/** @type {HTMLButtonElement} */ (button).disabled)) this.app.run(/** @type {HTMLElement} */ (button).dataset.action);
  }

  /** Escape in a panel leads back to the canvas. @param {KeyboardEvent} event */
  escape(event) {
    if (event.key !== 'Escape' || event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const inPanel = /** @type {HTMLElement} */ (event.target).closest('.panel-body, .head');
    if (!inPanel) return;
    if (innerWidth < NARROW && inPanel.closest('.right')) this.fold('right', true);
    const { focus } = this.app.selection;
    if (focus && innerWidth >= PHONE) this.app.focusNode(focus, false);
    else at('canvas').focus({ preventScroll: true });
  }

  /** @param {any} what */
  async panel(what) {
    if (what.toggle === 'drawer') return this.openDrawer(this.root.dataset.drawer === 'open' ? '' : 'problems', true);
    if (what.toggle === 'canvas') {
      this.root.dataset.canvas = this.root.dataset.canvas ? '' : 'shown';
      return;
    }
    if (what.toggle) return this.fold(what.toggle, this.root.dataset[what.toggle] !== 'folded');
    for (const side of /** @type {const} */ (['left', 'right'])) {
      if (!what[side]) continue;
      this.fold(side, false);
      this[side].select(what[side]);
      await this[side].show(what[side]);
      await this.settled(this[side]);
      if (what.focus) this[side].focus();
    }
    if (what.drawer) await this.openDrawer(what.drawer, what.focus);
  }

  /** Settings wait for the form of their node, on a slow line some moments. @param {Slot} slot */
  async settled(slot) {
    const { only } = this.app.selection;
    for (let tries = 0; tries < 60; tries++) {
      await new Promise((done) => setTimeout(done, 30));
      if (slot.name !== 'settings' || only === null || slot.body.querySelector(`[data-node="${CSS.escape(only)}"]`)) return;
    }
  }

  /** @param {string} name '' closes @param {boolean} focus */
  async openDrawer(name, focus) {
    this.root.dataset.drawer = name ? 'open' : '';
    if (!name) {
      this.drawer.hide();
      return at('canvas').focus({ preventScroll: true });
    }
    this.drawer.select(name);
    await this.drawer.show(name);
    if (focus) at(`tab-${name}`).focus();
  }

  /** @param {'left' | 'right'} side @param {boolean} folded */
  fold(side, folded) {
    this.root.dataset[side] = folded ? 'folded' : '';
    if (innerWidth >= NARROW) remember(side, folded ? 'folded' : '');
  }

  head() {
    const { selection, store, types, id, state } = this.app;
    const node = selection.only;
    const spec = node ? store.nodes.get(node) : undefined;
    const wire = selection.wire ? store.wires.get(selection.wire) : undefined;
    const count = selection.nodes.size + selection.wires.size;
    const title = spec ? null : wire ? 'Wire' : count > 1 ? `${count} selected` : 'Flow';
    const line = spec ? '' : wire ? wire.id : count > 1 ? 'Settings of one node at a time' : id;
    const close = h('button', { type: 'button', class: 'plain tiny fold-right', title: 'Close', 'aria-label': 'Close the inspector', data: { action: 'toggle-right' } }, icon('close'));
    if (spec && node) {
      void import('./head.js').then(({ nodeHead }) => {
        if (selection.only === node) nodeHead(this.app, at('inspector-head'), node, types.get(spec.type), close);
      });
    } else {
      put(at('inspector-head'), h('div', { class: 'names' }, h('h2', {}, title ?? ''), h('p', { class: 'small muted' }, line)), close);
    }
    at('flow-name').textContent = store.head.title || state.title || id;
    document.title = `${store.head.title || state.title || id} · flowengine`;
  }

  locked() {
    const button = at('lock');
    const { locked } = this.app;
    put(button, icon(locked ? 'lock' : 'unlock'));
    button.setAttribute('aria-pressed', String(locked));
    button.title = locked ? 'Unlock the canvas' : 'Lock the canvas: nothing moves by accident';
  }

  zoomed() {
    const text = `${Math.round(this.app.view.zoom * 100)} %`;
    const element = at('zoom');
    // A pan does not change it: writing the same text would lay out the tools in every frame.
    if (element.textContent !== text) element.textContent = text;
  }
}
