// Pointers on the canvas, as a machine of few states: idle, pan, marquee, move, connect, pinch.
//
// Whatever it does it does through the same edits as keys and menus; Escape leaves any state.

import * as edits from '../model/edits.js';
import { refusal } from '../model/types.js';

const SLACK = 4; // pixels before a press becomes a drag
const SNAP = 24; // pixels within which a wire takes a port
const LONG_PRESS = 550;

export class Input {
  /** @param {any} app @param {HTMLElement} element @param {HTMLElement} marquee */
  constructor(app, element, marquee) {
    this.app = app;
    this.element = element;
    this.marquee = marquee;
    /** @type {any} */
    this.state = { name: 'idle' };
    /** @type {Map<number, Point>} */
    this.fingers = new Map();
    this.space = false;
    this.press = 0;
    const listen = (/** @type {string} */ name, /** @type {(event: any) => void} */ listener, how = {}) =>
      element.addEventListener(name, listener, how);
    listen('pointerdown', (event) => this.down(event));
    listen('pointermove', (event) => this.move(event));
    listen('pointerup', (event) => this.up(event));
    listen('pointercancel', () => this.leave());
    listen('wheel', (event) => this.wheel(event), { passive: false });
    listen('dblclick', (event) => this.twice(event));
    listen('contextmenu', (event) => this.menu(event));
    listen('pointerleave', () => app.hoverWire(null));
    listen('dragover', (event) => event.dataTransfer?.types.includes('text/x-flowengine') && event.preventDefault());
    listen('drop', (event) => this.drop(event));
    window.addEventListener('keydown', (event) => this.key(event, true));
    window.addEventListener('keyup', (event) => this.key(event, false));
  }

  /** @param {PointerEvent} event */
  down(event) {
    const { app } = this;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest('.run')) return this.run(event, target);
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.fingers.size === 2) return this.startPinch();
    app.closeMenus();
    const at = app.view.toWorld(event.clientX, event.clientY);
    const hold = { start: /** @type {Point} */ ([event.clientX, event.clientY]), at, pointer: event.pointerId };
    const pans = event.button === 1 || (event.button === 0 && this.space);
    if (!pans && event.button !== 0) return;
    this.capture(event);
    clearTimeout(this.press);
    if (event.pointerType === 'touch') {
      this.press = window.setTimeout(() => this.state.name.startsWith('press') && this.menu(event), LONG_PRESS);
    }
    const still = app.readOnly || app.locked;
    const port = still || pans || app.view.far ? null : this.portOf(target, at);
    const id = target.closest('.node')?.getAttribute('data-id') ?? (app.view.far ? app.scene.nodeAt(...at) : null);
    if (pans) this.state = { name: 'pan', last: hold.start };
    else if (port) this.state = { name: 'press-port', port, ...hold };
    else if (id) this.pressNode(id, event, hold, still);
    else this.pressBoard(event, hold);
    if (!pans && !id) this.element.focus({ preventScroll: true });
  }

  /** @param {PointerEvent} event @param {HTMLElement} target */
  run(event, target) {
    event.stopPropagation();
    const id = target.closest('.run')?.getAttribute('data-run');
    if (event.button === 0 && id) this.app.run('run-now', { id });
  }

  /** @param {PointerEvent} event */
  capture(event) {
    try {
      this.element.setPointerCapture(event.pointerId);
    } catch {
      // A pointer that is up already cannot be held; nothing is lost by that.
    }
  }

  /** @param {HTMLElement} target @param {Point} at @returns {Port | null} */
  portOf(target, at) {
    const element = target.closest('.port');
    const id = target.closest('.node')?.getAttribute('data-id');
    if (!element || !id) return null;
    const { side, output } = /** @type {HTMLElement} */ (element).dataset;
    return this.app.scene.ports(id).find((/** @type {Port} */ port) => port.side === side && port.output === output) ?? this.app.scene.portAt(...at, SNAP);
  }

  /** @param {string} id @param {PointerEvent} event @param {any} hold @param {boolean} still */
  pressNode(id, event, hold, still) {
    const { selection } = this.app;
    const many = event.shiftKey || event.ctrlKey || event.metaKey;
    if (many) selection.toggle(id);
    else if (!selection.nodes.has(id)) selection.set([id]);
    else selection.focus = id;
    this.app.focusNode(id, false);
    this.state = { name: still ? 'idle' : 'press-node', id, many, ...hold };
  }

  /** @param {PointerEvent} event @param {any} hold */
  pressBoard(event, hold) {
    const { app } = this;
    const [x, y] = hold.at;
    const wire = app.scene.wireAt(x, y, 8 / app.view.zoom);
    const group = wire ? null : app.scene.groupAt(x, y);
    if (wire) {
      app.selection.set([], [wire]);
      this.state = { name: 'idle' };
    } else if (group) {
      app.selection.set(group.nodes, [], group.id);
      this.state = app.readOnly || app.locked ? { name: 'idle' } : { name: 'press-node', id: group.nodes[0], ...hold };
    } else if (event.pointerType === 'touch') {
      this.state = { name: 'pan', last: hold.start };
      app.selection.clear();
    } else {
      this.state = { name: 'press-board', keep: event.shiftKey ? new Set(app.selection.nodes) : new Set(), ...hold };
      if (!event.shiftKey) app.selection.clear();
    }
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { app, state } = this;
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (state.name === 'pinch') return this.pinch();
    const at = app.view.toWorld(event.clientX, event.clientY);
    if (state.start && Math.hypot(event.clientX - state.start[0], event.clientY - state.start[1]) < SLACK && state.name.startsWith('press')) return;
    switch (state.name) {
      case 'pan':
        this.element.classList.add('panning');
        app.view.pan(state.last[0] - event.clientX, state.last[1] - event.clientY);
        state.last = [event.clientX, event.clientY];
        break;
      case 'press-node':
        this.startMove(state);
        this.dragTo(at, event.altKey);
        break;
      case 'move':
        this.dragTo(at, event.altKey);
        break;
      case 'press-board':
        this.state = { ...state, name: 'marquee' };
        this.draw(at);
        break;
      case 'marquee':
        this.draw(at);
        break;
      case 'press-port':
        this.startConnect(state.port);
        this.connectTo(at);
        break;
      case 'connect':
        this.connectTo(at);
        break;
      default:
        if (event.pointerType !== 'touch') this.hover(event, at);
    }
  }

  /** @param {PointerEvent} event @param {Point} at */
  hover(event, at) {
    const onBoard = event.target === this.element || /** @type {HTMLElement} */ (event.target).tagName === 'CANVAS';
    this.app.hoverWire(onBoard ? this.app.scene.wireAt(at[0], at[1], 8 / this.app.view.zoom) : null, event.clientX, event.clientY);
  }

  /** @param {any} state */
  startMove(state) {
    const { app } = this;
    const ids = [...app.selection.nodes];
    app.history.seal();
    app.cards.dragged = new Set(ids);
    app.cards.touch(ids);
    const places = Object.fromEntries(ids.map((id) => [id, app.store.at.get(id) ?? [0, 0]]));
    this.state = { ...state, name: 'move', ids, places, key: `drag ${performance.now()}` };
  }

  /** @param {Point} at @param {boolean} free without the grid */
  dragTo(at, free) {
    const { app, state } = this;
    const step = free ? 1 : 10;
    const [ox, oy] = state.places[state.id] ?? [0, 0];
    // The node under the pointer stands on the grid, the others keep their distance to it.
    const dx = Math.round((ox + at[0] - state.at[0]) / step) * step - ox;
    const dy = Math.round((oy + at[1] - state.at[1]) / step) * step - oy;
    if (dx === state.dx && dy === state.dy) return;
    [state.dx, state.dy] = [dx, dy];
    const places = Object.fromEntries(state.ids.map((/** @type {string} */ id) => [id, [state.places[id][0] + dx, state.places[id][1] + dy]]));
    app.commit(state.ids.length === 1 ? 'Move' : `Move ${state.ids.length} nodes`, [{ op: 'move', at: places }], state.key);
    const [id] = state.ids;
    const box = app.scene.boxes.get(id);
    const wire = state.ids.length === 1 && box ? this.wireUnder(id, box) : null;
    app.hoverWire(wire);
    state.wire = wire;
  }

  /** The wire that a dragged node would be put on. @param {string} id @param {Box} box @returns {string | null} */
  wireUnder(id, box) {
    const { app } = this;
    const wire = app.scene.wireAt(box.x + box.w / 2, box.y + box.h / 2, 20);
    const found = wire && app.store.wires.get(wire);
    return found && edits.leadThrough(app.store, app.types, id, found).length ? wire : null;
  }

  /** @param {Point} at */
  draw(at) {
    const { app, state } = this;
    const box = { x: Math.min(at[0], state.at[0]), y: Math.min(at[1], state.at[1]), w: Math.abs(at[0] - state.at[0]), h: Math.abs(at[1] - state.at[1]) };
    const [left, top] = app.view.toScreen(box.x, box.y);
    this.marquee.hidden = false;
    Object.assign(this.marquee.style, { transform: `translate(${left}px, ${top}px)`, width: `${box.w * app.view.zoom}px`, height: `${box.h * app.view.zoom}px` });
    app.selection.set([...state.keep, ...app.scene.nodesIn(box)]);
  }

  /** @param {Port} port */
  startConnect(port) {
    const { app } = this;
    this.state = { name: 'connect', port };
    this.element.classList.add('connecting');
    app.cards.allowed = (/** @type {string} */ id) => id === port.id || this.why(port, id) === '';
    app.cards.all();
  }

  /** Why a wire between a port and a node is refused. @param {Port} port @param {string} id @returns {string} */
  why(port, id) {
    const { store, types, scene } = this.app;
    if (port.side === 'out') return refusal(store, types, port.id, port.output, id);
    const output = scene.boxes.get(id)?.outs[0];
    return output === undefined ? 'It sends nothing on.' : refusal(store, types, id, output, port.id);
  }

  /** @param {Point} at */
  connectTo(at) {
    const { app, state } = this;
    const near = app.scene.portAt(at[0], at[1], SNAP / app.view.zoom);
    const over = near && near.side !== state.port.side ? near.id : app.scene.nodeAt(...at);
    const target = over && over !== state.port.id ? over : null;
    const why = target ? this.why(state.port, target) : '';
    const port = target && app.scene.ports(target).find((/** @type {Port} */ each) => each.side !== state.port.side);
    state.target = target;
    state.over = near && near.id === target && near.side === 'out' ? near.output : undefined;
    state.why = why;
    state.at = at;
    const before = app.cards.target;
    app.cards.target = why ? null : target;
    app.cards.touch([before, target].filter(Boolean));
    const end = port && !why ? [port.x, port.y] : at;
    app.wires.open = { from: [state.port.x, state.port.y], to: end, ok: !why, back: state.port.side === 'in' };
    app.view.touch();
  }

  /** @param {PointerEvent} event */
  up(event) {
    const { app, state } = this;
    this.fingers.delete(event.pointerId);
    clearTimeout(this.press);
    if (state.name === 'press-port') app.run('connect', { id: state.port.id, output: state.port.output, side: state.port.side });
    if (state.name === 'press-node' && !state.many && app.selection.nodes.size > 1 && !app.selection.group) app.selection.set([state.id]);
    if (state.name === 'move' && state.wire) this.putOnWire(state);
    if (state.name === 'connect') this.finish(event);
    if (this.state === state || state.name === 'connect') this.leave();
  }

  /** @param {any} state */
  putOnWire({ ids: [id], wire, key }) {
    const { app } = this;
    const found = app.store.wires.get(wire);
    if (found) app.commit('Put on a wire', edits.leadThrough(app.store, app.types, id, found), key);
  }

  /** @param {PointerEvent} event */
  finish(event) {
    const { app, state } = this;
    const { port, target, why, over } = state;
    if (target && why) app.say(why, 'error');
    else if (target && port.side === 'out') app.commit('Connect', edits.connect(app.store, app.types, port.id, port.output, target));
    else if (target) app.commit('Connect', edits.connect(app.store, app.types, target, over ?? app.scene.boxes.get(target).outs[0], port.id));
    else if (port.side === 'out') app.run('quick-add', { after: port.id, output: port.output, at: app.view.toWorld(event.clientX, event.clientY) });
  }

  /** Back to idle, whatever it was. */
  leave() {
    const { app } = this;
    clearTimeout(this.press);
    const dragged = app.cards.dragged;
    app.cards.dragged = new Set();
    if (dragged.size) app.cards.touch(dragged);
    if (app.cards.allowed) {
      app.cards.allowed = null;
      app.cards.target = null;
      app.cards.all();
    }
    app.wires.open = null;
    this.marquee.hidden = true;
    this.element.classList.remove('panning', 'connecting');
    this.state = { name: 'idle' };
    app.history.seal();
    app.hoverWire(null);
    app.view.touch();
  }

  startPinch() {
    this.leave();
    const [a, b] = [...this.fingers.values()];
    this.state = { name: 'pinch', far: Math.hypot(a[0] - b[0], a[1] - b[1]), zoom: this.app.view.zoom, middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  pinch() {
    if (this.fingers.size < 2) return;
    const [a, b] = [...this.fingers.values()];
    const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const { view } = this.app;
    view.pan(this.state.middle[0] - middle[0], this.state.middle[1] - middle[1]);
    view.zoomTo((this.state.zoom * Math.hypot(a[0] - b[0], a[1] - b[1])) / (this.state.far || 1), middle[0], middle[1]);
    this.state.middle = middle;
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const { view } = this.app;
    const unit = event.deltaMode === 1 ? 18 : event.deltaMode === 2 ? view.height : 1;
    if (event.ctrlKey || event.metaKey) view.zoomTo(view.zoom * Math.exp((-event.deltaY * unit) / 300), event.clientX, event.clientY);
    else if (event.shiftKey && !event.deltaX) view.pan(event.deltaY * unit, 0);
    else view.pan(event.deltaX * unit, event.deltaY * unit);
  }

  /** @param {MouseEvent} event */
  twice(event) {
    const { app } = this;
    const at = app.view.toWorld(event.clientX, event.clientY);
    const id = /** @type {HTMLElement} */ (event.target).closest('.node')?.getAttribute('data-id') ?? app.scene.nodeAt(...at);
    const wire = id ? null : app.scene.wireAt(at[0], at[1], 8 / app.view.zoom);
    if (id) app.run('open-settings', { id });
    else if (wire) app.run('insert-on-wire', { wire });
    else app.run('quick-add', { at });
  }

  /** @param {MouseEvent | PointerEvent} event */
  menu(event) {
    event.preventDefault();
    const { app } = this;
    const at = app.view.toWorld(event.clientX, event.clientY);
    const id = /** @type {HTMLElement} */ (event.target).closest?.('.node')?.getAttribute('data-id') ?? app.scene.nodeAt(...at);
    const wire = id ? null : app.scene.wireAt(at[0], at[1], 8 / app.view.zoom);
    if (id && !app.selection.nodes.has(id)) app.selection.set([id]);
    else if (wire) app.selection.set([], [wire]);
    else if (!id) app.selection.clear();
    this.leave();
    app.run('context-menu', { x: event.clientX, y: event.clientY, at });
  }

  /** A type dragged from the list. @param {DragEvent} event */
  drop(event) {
    const name = event.dataTransfer?.getData('text/x-flowengine');
    if (!name) return;
    event.preventDefault();
    const [x, y] = this.app.view.toWorld(event.clientX, event.clientY);
    const wire = this.app.scene.wireAt(x, y, 16);
    this.app.run('add-node', { type: name, at: [x - 84, y - 28], wire });
  }

  /** @param {KeyboardEvent} event @param {boolean} isDown */
  key(event, isDown) {
    if (event.code === 'Space' && document.activeElement === this.element) {
      this.space = isDown;
      this.element.classList.toggle('can-pan', isDown);
      event.preventDefault();
    }
    if (isDown && event.key === 'Escape' && this.state.name !== 'idle') {
      event.stopPropagation();
      this.leave();
    }
  }
}

