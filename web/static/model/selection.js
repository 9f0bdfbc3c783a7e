// What is chosen: nodes, wires, or a group, and the one node that has the focus.

export class Selection {
  constructor() {
    /** @type {Set<string>} */
    this.nodes = new Set();
    /** @type {Set<string>} */
    this.wires = new Set();
    /** The node that keys act on. @type {string | null} */
    this.focus = null;
    /** @type {string | null} */
    this.group = null;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** @param {Iterable<string>} nodes @param {Iterable<string>} [wires] @param {string | null} [group] */
  set(nodes, wires = [], group = null) {
    const [chosen, lines] = [new Set(nodes), new Set(wires)];
    const last = [...chosen].at(-1) ?? null;
    const same = group === this.group && equal(chosen, this.nodes) && equal(lines, this.wires);
    if (same && (last === null || this.focus === last)) return;
    this.nodes = chosen;
    this.wires = lines;
    this.group = group;
    if (last !== null) this.focus = last;
    this.tell();
  }

  /** @param {string} id */
  toggle(id) {
    const nodes = new Set(this.nodes);
    if (!nodes.delete(id)) nodes.add(id);
    this.set(nodes, this.wires);
  }

  clear() {
    this.set([]);
  }

  /** The one chosen node, null for none or several. */
  get only() {
    return this.nodes.size === 1 && !this.wires.size ? [...this.nodes][0] : null;
  }

  /** The one chosen wire. */
  get wire() {
    return this.wires.size === 1 && !this.nodes.size ? [...this.wires][0] : null;
  }

  /** Forget what is gone. @param {import('./store.js').Store} store */
  keep(store) {
    const nodes = [...this.nodes].filter((id) => store.nodes.has(id));
    const wires = [...this.wires].filter((id) => store.wires.has(id));
    if (this.focus && !store.nodes.has(this.focus)) this.focus = null;
    const group = this.group && store.groups[this.group] ? this.group : null;
    if (nodes.length !== this.nodes.size || wires.length !== this.wires.size || group !== this.group) {
      this.set(nodes, wires, group);
    }
  }

  /** @param {() => void} listener */
  listen(listener) {
    this.listeners.add(listener);
  }

  tell() {
    for (const listener of this.listeners) listener();
  }
}

/** @param {Set<string>} a @param {Set<string>} b */
function equal(a, b) {
  return a.size === b.size && [...a].every((each) => b.has(each));
}
