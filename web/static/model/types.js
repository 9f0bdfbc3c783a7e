// What a node offers and which wires are right: the rules of `flowengine check`, said at draw time.

import { makeWire } from './wires.js';

export const ERROR = 'error';

/** @typedef {import('./store.js').Store} Store */

/**
 * The outputs of a node, `error` apart. Where they depend on the config they are read from it.
 * @param {NodeSpec} spec
 * @param {NodeType | undefined} type
 * @returns {string[]}
 */
export function outputsOf(spec, type) {
  if (!type) return [];
  if (!type.outputs_vary) return type.outputs;
  const config = spec.config ?? {};
  const declared = Array.isArray(config.outputs) ? config.outputs : [];
  const ruled = Array.isArray(config.rules) ? config.rules.map((/** @type {any} */ rule) => rule?.to) : [];
  const named = [...declared, ...ruled, config.otherwise].filter(
    (name) => typeof name === 'string' && name !== '',
  );
  return [...new Set(named.length ? named : type.outputs)];
}

/**
 * The ports on the right of a node: its outputs, then what its wires name beyond them (a node whose
 * type is missing, an output that a rule no longer has).
 * @param {Store} store @param {Types} types @param {string} id
 * @returns {string[]}
 */
export function portsOf(store, types, id) {
  const spec = store.nodes.get(id);
  if (!spec) return [];
  const outputs = outputsOf(spec, types.get(spec.type));
  const named = store.out(id).map((wire) => wire.output || outputs[0] || '');
  return [...new Set([...outputs, ...named])].filter((name) => name !== ERROR || outputs.includes(name));
}

/** @param {Store} store @param {Types} types @param {string} id @returns {boolean} */
export function hasInput(store, types, id) {
  const spec = store.nodes.get(id);
  const type = spec && types.get(spec.type);
  return type ? type.has_input : store.into(id).length > 0;
}

/** Whether a node has the implicit output `error`. @param {Store} store @param {Types} types @param {string} id */
export function hasErrorPort(store, types, id) {
  return hasInput(store, types, id);
}

/** The name of a wire's output in full. @param {Store} store @param {Types} types @param {Wire} wire */
export function outputName(store, types, wire) {
  if (wire.output) return wire.output;
  const spec = store.nodes.get(wire.from);
  return (spec && outputsOf(spec, types.get(spec.type))[0]) ?? '';
}

/**
 * The wire from an output, written as `fmt` writes it: a first output is left out.
 * @param {Store} store @param {Types} types @param {string} from @param {string} output @param {string} to
 */
export function wireFor(store, types, from, output, to) {
  const spec = store.nodes.get(from);
  const first = spec ? outputsOf(spec, types.get(spec.type))[0] : undefined;
  return makeWire(from, output === first && first === 'out' ? '' : output, to);
}

/**
 * Why a wire cannot be drawn, '' when it can.
 * @param {Store} store @param {Types} types @param {string} from @param {string} output @param {string} to
 * @returns {string}
 */
export function refusal(store, types, from, output, to) {
  const [source, target] = [store.nodes.get(from), store.nodes.get(to)];
  if (!source || !target) return 'That node is gone.';
  if (from === to) return 'A node does not send to itself.';
  const into = types.get(target.type);
  if (into?.kind === 'note') return `${titleOf(target, to)} is a note: it takes no messages.`;
  if (into && !into.has_input) return `${titleOf(target, to)} is a source: it has no input.`;
  const outputs = outputsOf(source, types.get(source.type));
  const type = types.get(source.type);
  const known = !type || outputs.includes(output || outputs[0]) || (output === ERROR && type.has_input);
  if (!known) {
    return `${titleOf(source, from)} has no output "${output}".`;
  }
  const name = output || outputs[0] || '';
  const twice = store.out(from).some((wire) => wire.to === to && outputName(store, types, wire) === name);
  if (twice) return 'That wire is there already.';
  if (leadsTo(store, to, from)) return 'That would be a circle: messages would go round for ever.';
  return '';
}

/** What is wrong with a wire that is there, '' for nothing. @param {Store} store @param {Types} types @param {Wire} wire */
export function faultOf(store, types, wire) {
  const [source, target] = [store.nodes.get(wire.from), store.nodes.get(wire.to)];
  if (!source || !target) return `no node "${source ? wire.to : wire.from}"`;
  const [from, to] = [types.get(source.type), types.get(target.type)];
  if (to && !to.has_input) return `${titleOf(target, wire.to)} has no input`;
  if (!from) return '';
  const outputs = outputsOf(source, from);
  if (wire.output === ERROR && from.has_input) return '';
  if (!outputs.includes(wire.output || outputs[0])) return `no output "${wire.output || 'out'}"`;
  return '';
}

/** Whether messages of `from` can come to `to`. @param {Store} store @param {string} from @param {string} to */
export function leadsTo(store, from, to) {
  const seen = new Set([from]);
  const waiting = [from];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (id === to) return true;
    for (const wire of store.out(id)) {
      if (seen.has(wire.to)) continue;
      seen.add(wire.to);
      waiting.push(wire.to);
    }
  }
  return false;
}

/**
 * Nodes that a wire from this output may go to, nearest first.
 * @param {Store} store @param {Types} types @param {string} from @param {string} output
 * @returns {string[]}
 */
export function targetsFor(store, types, from, output) {
  const [x, y] = store.at.get(from) ?? [0, 0];
  const far = (/** @type {string} */ id) => {
    const [a, b] = store.at.get(id) ?? [0, 0];
    // What stands to the right is nearer than what stands behind.
    return Math.hypot(a - x, b - y) + (a < x ? 4000 : 0);
  };
  return [...store.nodes.keys()]
    .filter((id) => refusal(store, types, from, output, id) === '')
    .sort((a, b) => far(a) - far(b));
}

/** The output that a new wire from a node most likely takes: the first that has no wire yet.
 * @param {Store} store @param {Types} types @param {string} id @returns {string | null} */
export function freeOutput(store, types, id) {
  const ports = portsOf(store, types, id);
  if (!ports.length) return null;
  const used = new Set(store.out(id).map((wire) => outputName(store, types, wire)));
  return ports.find((name) => !used.has(name)) ?? ports[0];
}

/** @param {NodeSpec} spec @param {string} id */
export function titleOf(spec, id) {
  if (spec.title) return spec.title;
  const words = id.replace(/-/g, ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

