// Which types people most likely want next: what fits behind the node, then what they used last.

import { remember, remembered } from './memory.js';

// What usually follows a kind of node. A family that is not named here follows by its kind alone.
const AFTER_SOURCE = ['filter', 'threshold', 'json', 'window', 'compute', 'debug'];
const AFTER_WORK = ['mqtt', 'influxdb', 'series', 'actuator', 'debug', 'template', 'threshold'];

/** @param {string} name */
export function used(name) {
  const list = recent().filter((each) => each !== name);
  remember('recent', JSON.stringify([name, ...list].slice(0, 12)));
}

/** @returns {string[]} */
export function recent() {
  try {
    const list = JSON.parse(remembered('recent') || '[]');
    return Array.isArray(list) ? list.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

/** Types that may stand after a node, the likeliest first. @param {any} app @param {string | null} after @returns {NodeType[]} */
export function suggestions(app, after) {
  const spec = after ? app.store.nodes.get(after) : null;
  const type = spec && app.types.get(spec.type);
  const all = /** @type {NodeType[]} */ ([...app.types.values()]).filter((each) => each.kind !== 'connection');
  const lately = recent();
  const usual = type?.kind === 'source' ? AFTER_SOURCE : AFTER_WORK;
  const points = (/** @type {NodeType} */ each) => {
    const [a, b] = [usual.indexOf(each.family), lately.indexOf(each.name)];
    return (a < 0 ? 0 : 20 - a) + (b < 0 ? 0 : 12 - b);
  };
  const starts = !type || !after || !app.scene.boxes.get(after)?.outs.length;
  const fits = starts
    ? all.filter((each) => each.kind === 'source' || lately.includes(each.name))
    : all.filter((each) => each.has_input && (each.kind !== 'source'));
  return fits.sort((a, b) => points(b) - points(a));
}
