// Wires between the two ways of writing them: text in the file, an object with ends in the model.

const SETTINGS = new Set(['from', 'to']);

/** @param {string} from @param {string} output @param {string} to */
export function wireId(from, output, to) {
  return `${output ? `${from}.${output}` : from} -> ${to}`;
}

/** @param {string} from @param {string} output @param {string} to @param {Record<string, any>} [settings] @returns {Wire} */
export function makeWire(from, output, to, settings = {}) {
  return { id: wireId(from, output, to), from, output, to, settings };
}

/**
 * A wire of a flow file; node ids hold no dot, so the first one ends the id.
 * @param {string | Record<string, any>} written
 * @returns {Wire}
 */
export function readWire(written) {
  const [start, to] =
    typeof written === 'string'
      ? written.split('->').map((part) => part.trim())
      : [String(written.from), String(written.to)];
  const settings =
    typeof written === 'string'
      ? {}
      : Object.fromEntries(Object.entries(written).filter(([key]) => !SETTINGS.has(key)));
  const dot = start.indexOf('.');
  const from = dot < 0 ? start : start.slice(0, dot);
  return makeWire(from, dot < 0 ? '' : start.slice(dot + 1), to ?? '', settings);
}

/** @param {Wire} wire @returns {string | Record<string, any>} */
export function writeWire(wire) {
  if (!Object.keys(wire.settings).length) return wire.id;
  const from = wire.output ? `${wire.from}.${wire.output}` : wire.from;
  return { from, to: wire.to, ...wire.settings };
}
