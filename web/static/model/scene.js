// Where everything is drawn: boxes, ports and ways of wires, kept up to date change by change.
//
// Canvas, input, minimap and keyboard all ask here, so that what is seen is what is hit.

import { curve, distance } from './curve.js';
import { Grid } from './grid.js';
import { around, errorAt, inputAt, meet, outputAt, sizeOf } from './size.js';
import { ERROR, hasInput, outputName, portsOf } from './types.js';

/** @typedef {import('./store.js').Store} Store */

const GROUP_ROOM = 16;
const GROUP_HEAD = 22;

export class Scene {
  /** @param {Store} store @param {Types} types */
  constructor(store, types) {
    this.store = store;
    this.types = types;
    /** @type {Map<string, Drawn>} */
    this.boxes = new Map();
    /** @type {Map<string, Curve>} */
    this.ways = new Map();
    this.nodeGrid = new Grid();
    this.wireGrid = new Grid();
    /** @type {Box | null | undefined} */
    this.whole = undefined;
    this.rebuild();
  }

  rebuild() {
    this.boxes.clear();
    this.ways.clear();
    this.nodeGrid.clear();
    this.wireGrid.clear();
    for (const id of this.store.nodes.keys()) this.drawNode(id);
    for (const wire of this.store.wires.values()) this.drawWire(wire.id);
    this.whole = undefined;
  }

  /** @param {Changed} changed */
  update(changed) {
    if (changed.all) return this.rebuild();
    const nodes = new Set(changed.nodes);
    const wires = new Set(changed.wires);
    /** How far nodes went that only went. @type {Map<string, Point>} */
    const went = new Map();
    /** @type {Set<string>} */
    const along = new Set();
    for (const id of changed.moved) {
      const by = nodes.has(id) ? null : this.shift(id);
      if (!by) nodes.add(id);
      else {
        went.set(id, by);
        this.wiresOf(id, along);
      }
    }
    for (const id of along) if (!this.shiftWire(id, went)) wires.add(id);
    for (const id of changed.wires) {
      // A wire from an output that is not declared makes a port of its own.
      const from = this.store.wires.get(id)?.from ?? id.slice(0, id.search(/[. ]/));
      if (this.store.nodes.has(from)) nodes.add(from);
    }
    for (const id of nodes) {
      this.drawNode(id);
      this.wiresOf(id, wires);
    }
    for (const id of wires) this.drawWire(id);
    this.whole = undefined;
  }

  /** @param {string} id @param {Set<string>} into */
  wiresOf(id, into) {
    for (const wire of this.store.leaving.get(id) ?? []) into.add(wire);
    for (const wire of this.store.reaching.get(id) ?? []) into.add(wire);
  }

  /** A node at another place is the same node: nothing of it is worked out anew. @param {string} id @returns {Point | null} how far it went */
  shift(id) {
    const [box, at] = [this.boxes.get(id), this.store.at.get(id)];
    if (!box || !at) return null;
    const by = /** @type {Point} */ ([at[0] - box.x, at[1] - box.y]);
    [box.x, box.y] = at;
    this.nodeGrid.put(id, box);
    return by;
  }

  /** A wire whose two ends went the same way went with them. @param {string} id @param {Map<string, Point>} went */
  shiftWire(id, went) {
    const [wire, way] = [this.store.wires.get(id), this.ways.get(id)];
    const [from, to] = [wire && went.get(wire.from), wire && went.get(wire.to)];
    if (!way || !from || !to || from[0] !== to[0] || from[1] !== to[1]) return false;
    const [dx, dy] = from;
    way.x1 += dx;
    way.x2 += dx;
    way.y1 += dy;
    way.y2 += dy;
    way.box.x += dx;
    way.box.y += dy;
    if (way.c) way.c = [way.c[0] + dx, way.c[1] + dy, way.c[2] + dx, way.c[3] + dy];
    way.corners = way.corners.map(([x, y]) => [x + dx, y + dy]);
    this.wireGrid.put(id, way.box);
    return true;
  }

  /** @param {string} id */
  drawNode(id) {
    const spec = this.store.nodes.get(id);
    if (!spec) {
      this.boxes.delete(id);
      this.nodeGrid.drop(id);
      return;
    }
    const [x, y] = this.store.at.get(id) ?? [0, 0];
    const input = hasInput(this.store, this.types, id);
    const note = this.types.get(spec.type)?.kind === 'note';
    const outs = portsOf(this.store, this.types, id);
    const box = { x, y, ...sizeOf(this.store, this.types, id), outs, input, error: input && !note, note };
    this.boxes.set(id, box);
    this.nodeGrid.put(id, box);
  }

  /** @param {string} id */
  drawWire(id) {
    const wire = this.store.wires.get(id);
    const from = wire && this.boxes.get(wire.from);
    const to = wire && this.boxes.get(wire.to);
    if (!wire || !from || !to) {
      this.ways.delete(id);
      this.wireGrid.drop(id);
      return;
    }
    const name = outputName(this.store, this.types, wire);
    const down = name === ERROR && !from.outs.includes(ERROR);
    const bottom = Math.max(from.y + from.h, to.y + to.h);
    const way = curve(this.outPlace(from, name), [to.x, to.y + inputAt(to)], { bottom, down });
    this.ways.set(id, way);
    this.wireGrid.put(id, way.box);
  }

  /** @param {Drawn} box @param {string} output @returns {Point} */
  outPlace(box, output) {
    const index = box.outs.indexOf(output);
    if (index < 0 && output === ERROR) {
      const [x, y] = errorAt(box);
      return [box.x + x, box.y + y];
    }
    return [box.x + box.w, box.y + outputAt(box, Math.max(0, index), Math.max(1, box.outs.length))];
  }

  /** The box around all nodes, null for none. @returns {Box | null} */
  bounds() {
    if (this.whole === undefined) this.whole = around([...this.boxes.values()]);
    return this.whole ?? null;
  }

  /** @param {Box} rect @returns {string[]} */
  nodesIn(rect) {
    return [...this.nodeGrid.near(rect)].filter((id) => {
      const box = this.boxes.get(id);
      return box && meet(box, rect);
    });
  }

  /** @param {Box} rect @returns {string[]} */
  wiresIn(rect) {
    return [...this.wireGrid.near(rect)].filter((id) => {
      const way = this.ways.get(id);
      return way && meet({ ...way.box, w: way.box.w + 1, h: way.box.h + 1 }, rect);
    });
  }

  /** @param {number} x @param {number} y @returns {string | null} */
  nodeAt(x, y) {
    return this.nodesIn({ x, y, w: 0.5, h: 0.5 }).at(-1) ?? null;
  }

  /** @param {number} x @param {number} y @param {number} reach @returns {string | null} */
  wireAt(x, y, reach) {
    let [best, least] = [/** @type {string | null} */ (null), reach];
    for (const id of this.wiresIn({ x: x - reach, y: y - reach, w: 2 * reach, h: 2 * reach })) {
      const far = distance(/** @type {Curve} */ (this.ways.get(id)), x, y);
      if (far < least) [best, least] = [id, far];
    }
    return best;
  }

  /** The ports of a node. @param {string} id @returns {Port[]} */
  ports(id) {
    const box = this.boxes.get(id);
    if (!box) return [];
    /** @type {Port[]} */
    const found = box.outs.map((output) => {
      const [x, y] = this.outPlace(box, output);
      return { id, side: 'out', output, x, y };
    });
    if (box.error && !box.outs.includes(ERROR)) {
      const [x, y] = this.outPlace(box, ERROR);
      found.push({ id, side: 'out', output: ERROR, x, y });
    }
    if (box.input) found.push({ id, side: 'in', output: '', x: box.x, y: box.y + inputAt(box) });
    return found;
  }

  /** @param {number} x @param {number} y @param {number} reach @returns {Port | null} */
  portAt(x, y, reach) {
    let [best, least] = [/** @type {Port | null} */ (null), reach];
    for (const id of this.nodesIn({ x: x - reach, y: y - reach, w: 2 * reach, h: 2 * reach })) {
      for (const port of this.ports(id)) {
        const far = Math.hypot(port.x - x, port.y - y);
        if (far < least) [best, least] = [port, far];
      }
    }
    return best;
  }

  /** Groups with the area they cover. @returns {{id: string, title: string, nodes: string[], box: Box}[]} */
  groups() {
    return Object.entries(this.store.groups).flatMap(([id, group]) => {
      const boxes = group.nodes.flatMap((each) => this.boxes.get(each) ?? []);
      const box = around(boxes);
      if (!box) return [];
      const area = {
        x: box.x - GROUP_ROOM,
        y: box.y - GROUP_ROOM - GROUP_HEAD,
        w: box.w + 2 * GROUP_ROOM,
        h: box.h + 2 * GROUP_ROOM + GROUP_HEAD,
      };
      return [{ id, title: group.title, nodes: group.nodes, box: area }];
    });
  }

  /** The group whose title is there. @param {number} x @param {number} y */
  groupAt(x, y) {
    return this.groups().find(({ box }) => x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + GROUP_HEAD);
  }
}
