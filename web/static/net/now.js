// What runs at this moment, merged from frames that say only what changed: rates, queues, values.

/** @typedef {{text: string, kind: string, at: string, key: string, topic: string}} Value */

const KEPT = 60; // points of a rate that a sparkline shows

export class Now {
  constructor() {
    /** @type {Map<string, NodeNow>} */
    this.nodes = new Map();
    /** @type {Map<string, any>} */
    this.wires = new Map();
    /** Last values by `node.output`. @type {Map<string, Value>} */
    this.values = new Map();
    /** @type {Map<string, {state: string, what?: string, since?: string}>} */
    this.states = new Map();
    /** Recent rates by `node.output`, oldest first. @type {Map<string, number[]>} */
    this.rates = new Map();
    this.running = false;
    /** @type {Set<(what: 'metrics' | 'values' | 'status', ids: Set<string>) => void>} */
    this.listeners = new Set();
    /** Outputs that sent something since the frame before. @type {Set<string>} */
    this.moved = new Set();
  }

  /** @param {any} d a frame of `flow/{id}/metrics` */
  metrics(d) {
    if (d.full) {
      this.nodes.clear();
      this.wires.clear();
    }
    this.moved.clear();
    const ids = new Set(Object.keys(d.nodes ?? {}));
    for (const [id, node] of Object.entries(d.nodes ?? {})) {
      const before = this.nodes.get(id);
      for (const [output, count] of Object.entries(node.out ?? {})) {
        if (before && count !== before.out?.[output]) this.moved.add(`${id}.${output}`);
      }
      this.nodes.set(id, node);
    }
    for (const [id, wire] of Object.entries(d.wires ?? {})) this.wires.set(id, wire);
    for (const id of d.gone ?? []) {
      this.nodes.delete(id);
      ids.add(id);
    }
    for (const [id, node] of this.nodes) {
      for (const [output, rate] of Object.entries(node.rate ?? {})) {
        const key = `${id}.${output}`;
        const list = this.rates.get(key) ?? [];
        list.push(rate);
        if (list.length > KEPT) list.shift();
        this.rates.set(key, list);
      }
    }
    this.tell('metrics', ids);
  }

  /** @param {any} d a frame of `flow/{id}/values` */
  gotValues(d) {
    if (d.full) this.values.clear();
    const ids = new Set();
    for (const [key, value] of Object.entries(d.values ?? {})) {
      this.values.set(key, value);
      ids.add(key.slice(0, key.indexOf('.')));
    }
    this.tell('values', ids);
  }

  /** @param {any} d a frame of `flow/{id}/status` */
  status(d) {
    if (d.full) this.states.clear();
    this.running = Boolean(d.running);
    for (const [id, state] of Object.entries(d.nodes ?? {})) this.states.set(id, state);
    if (!this.running) {
      this.states.clear();
      this.nodes.clear();
      this.values.clear();
    }
    this.tell('status', new Set(Object.keys(d.nodes ?? {})));
  }

  /** Messages a second out of an output. @param {string} id @param {string} output */
  rate(id, output) {
    return this.nodes.get(id)?.rate?.[output] ?? 0;
  }

  /** The same by `node.output`. @param {string} key */
  rateOf(key) {
    const dot = key.indexOf('.');
    return this.rate(key.slice(0, dot), key.slice(dot + 1));
  }

  /** How full a wire's queue is, or that in front of its target: 0 to 1. @param {Wire} wire @param {string} output */
  fill(wire, output) {
    const { depth, capacity } = this.queue(wire, output);
    return capacity ? depth / capacity : 0;
  }

  /** The queue of a wire, or that in front of its target: how much waits, and what it dropped. @param {Wire} wire @param {string} output */
  queue(wire, output) {
    const own = this.wires.get(`${wire.from}.${output} -> ${wire.to}`) ?? this.wires.get(wire.id);
    const node = this.nodes.get(wire.to);
    const { depth = 0, capacity = 0 } = own?.capacity ? own : (node ?? {});
    return { depth, capacity, dropped: own?.capacity ? (own.dropped ?? 0) : (node?.dropped?.['wire-full'] ?? 0) };
  }

  /** What waits on a wire with a queue of its own, and what was dropped there. @param {Wire} wire @param {string} output @returns {string[]} words; the one with "dropped" is a loss */
  strain(wire, output) {
    const own = this.wires.get(`${wire.from}.${output} -> ${wire.to}`);
    return [own?.depth ? `${short(own.depth)}/${short(own.capacity)}` : '', own?.dropped ? `${short(own.dropped)} dropped` : ''].filter(Boolean);
  }

  /** What people should see under a node: losses first. @param {string} id @returns {{text: string, level: string} | null} */
  under(id) {
    const state = this.states.get(id);
    if (state?.state === 'failed') return { text: state.what || 'failed', level: 'error' };
    const node = this.nodes.get(id);
    const dropped = Object.values(node?.dropped ?? {}).reduce((sum, each) => sum + each, 0);
    if (dropped) return { text: `${short(dropped)} dropped`, level: 'error' };
    if (node?.failed) return { text: `${short(node.failed)} failed`, level: 'error' };
    if (state && state.state !== 'running' && state.state !== 'stopped') {
      return { text: state.what || state.state, level: 'warn' };
    }
    const lost = Object.entries(node?.unwired ?? {}).filter(([, count]) => count > 0);
    if (lost.length) return { text: lost.map(([name, count]) => `${short(count)} ${name}`).join(', '), level: 'muted' };
    if (node?.capacity && (node.depth ?? 0) >= 0.8 * node.capacity) return { text: `queue ${node.depth} of ${node.capacity}`, level: 'warn' };
    return null;
  }

  /** @param {(what: 'metrics' | 'values' | 'status', ids: Set<string>) => void} listener */
  listen(listener) {
    this.listeners.add(listener);
  }

  /** @param {'metrics' | 'values' | 'status'} what @param {Set<string>} ids */
  tell(what, ids) {
    for (const listener of this.listeners) listener(what, ids);
  }
}

/**
 * A value in a word: itself, or of a map the number that matters, which is the one at `field`.
 * The server cuts long maps, so this reads text that may break off.
 * @param {Value | undefined} value @param {string} [field] as `payload.temperature`
 */
export function headline(value, field = '') {
  if (!value) return '';
  if (value.kind === 'list') return '';
  if (value.kind !== 'map') return value.text.slice(0, 16);
  const wanted = field.replace(/^payload\.?/, '').split('.').at(-1);
  let first = '';
  for (const [, name, number] of value.text.matchAll(/"([^"\\]{1,40})":(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=[,}])/gi)) {
    if (name === wanted) return number;
    if (!first && !/time|seq|^id$/i.test(name)) first = number;
  }
  return first;
}

/** 1234567 as 1.2M. @param {number} count */
export function short(count) {
  if (count < 1000) return String(Math.round(count * 10) / 10);
  const power = count < 1e6 ? 1e3 : count < 1e9 ? 1e6 : 1e9;
  const value = count / power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}${power === 1e3 ? 'k' : power === 1e6 ? 'M' : 'G'}`;
}

/** @param {number} rate messages a second */
export function rateText(rate) {
  if (!rate) return '';
  if (rate < 0.1) return `${Math.max(1, Math.round(rate * 60))}/min`;
  return rate < 10 ? `${Number(rate.toFixed(1))}/s` : `${short(Math.round(rate))}/s`;
}
