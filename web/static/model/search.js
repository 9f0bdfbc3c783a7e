// Searching a flow's ids, titles, types and config values, and replacing in values with a preview.

import { titleOf } from './types.js';

/** @typedef {import('./store.js').Store} Store */
/** @typedef {{id: string, path: Path, text: string, where: string}} Hit */

/**
 * @param {Store} store
 * @param {string} wanted
 * @param {{exact?: boolean}} [how] exact: letter case counts
 * @returns {Hit[]}
 */
export function find(store, wanted, how = {}) {
  if (!wanted) return [];
  const test = matcher(wanted, how);
  const hits = [];
  for (const [id, spec] of store.nodes) {
    for (const { path, text } of texts(id, spec)) {
      if (test(text)) hits.push({ id, path, text, where: placeName(path) });
    }
  }
  return hits;
}

/**
 * What replacing would change: values and titles, never ids or types.
 * @param {Store} store @param {string} wanted @param {string} by @param {{exact?: boolean}} [how]
 * @returns {{id: string, path: Path, before: string, after: any, where: string}[]}
 */
export function replacements(store, wanted, by, how = {}) {
  return find(store, wanted, how)
    .filter((hit) => hit.path[2] === 'title' || hit.path[2] === 'config' || hit.path[2] === 'doc')
    .map((hit) => {
      const after = replaceIn(hit.text, wanted, by, how);
      return { id: hit.id, path: hit.path, before: hit.text, after: sameKind(store, hit, after), where: hit.where };
    })
    .filter((each) => String(each.after) !== each.before);
}

/** @param {{path: Path, after: any}[]} changes @returns {Op[]} */
export function replaceOps(changes) {
  return changes.map(({ path, after }) => ({ op: /** @type {const} */ ('put'), path, value: after }));
}

/** A number stays a number where the new text is one. @param {Store} store @param {Hit} hit @param {string} after */
function sameKind(store, hit, after) {
  /** @type {any} */
  let value = store.nodes.get(hit.id);
  for (const step of hit.path.slice(2)) value = value?.[step];
  const number = Number(after);
  return typeof value === 'number' && after.trim() !== '' && Number.isFinite(number) ? number : after;
}

/** @param {string} wanted @param {{exact?: boolean}} how @returns {(text: string) => boolean} */
function matcher(wanted, { exact }) {
  if (exact) return (text) => text.includes(wanted);
  const lower = wanted.toLowerCase();
  return (text) => text.toLowerCase().includes(lower);
}

/** @param {string} text @param {string} wanted @param {string} by @param {{exact?: boolean}} how */
function replaceIn(text, wanted, by, { exact }) {
  const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), exact ? 'g' : 'gi');
  return text.replace(pattern, () => by);
}

/** Every text of a node with its path. @param {string} id @param {NodeSpec} spec */
function* texts(id, spec) {
  const at = /** @type {Path} */ (['nodes', id]);
  yield { path: at, text: id };
  yield { path: [...at, 'type'], text: spec.type };
  if (spec.title) yield { path: [...at, 'title'], text: spec.title };
  yield* leaves(spec.doc, [...at, 'doc']);
  yield* leaves(spec.config, [...at, 'config']);
}

/** @param {any} value @param {Path} path @returns {Generator<{path: Path, text: string}>} */
function* leaves(value, path) {
  if (typeof value === 'string' || typeof value === 'number') yield { path, text: String(value) };
  else if (Array.isArray(value)) for (const [index, each] of value.entries()) yield* leaves(each, [...path, index]);
  else if (value && typeof value === 'object') {
    for (const [key, each] of Object.entries(value)) yield* leaves(each, [...path, key]);
  }
}

/** @param {Path} path @returns {string} */
function placeName(path) {
  if (path.length === 2) return 'id';
  return path
    .slice(2)
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : index ? `.${step}` : step))
    .join('');
}

/**
 * How well a name answers what was typed: letters in order, the start of words first. 0: not at all.
 * @param {string} typed @param {string} name @returns {number}
 */
export function score(typed, name) {
  const [want, have] = [typed.toLowerCase().trim(), name.toLowerCase()];
  if (!want) return 1;
  const at = have.indexOf(want);
  if (at === 0) return 100 - have.length / 100;
  if (at > 0) return (/[^a-z0-9]/.test(have[at - 1]) ? 80 : 60) - have.length / 100;
  if (want.includes(' ')) {
    const scores = want.split(/\s+/).map((word) => score(word, name));
    return Math.min(...scores) * 0.9;
  }
  let place = -1;
  let jumps = 0;
  for (const letter of want) {
    const next = have.indexOf(letter, place + 1);
    if (next < 0) return 0;
    if (next !== place + 1) jumps++;
    place = next;
  }
  return jumps <= Math.max(1, want.length / 2) ? 20 - jumps : 0;
}

/** What a node is called in lists. @param {Store} store @param {string} id */
export function nameOf(store, id) {
  const spec = store.nodes.get(id);
  return spec ? titleOf(spec, id) : id;
}
