// A value as a tree that folds, with the path of each part for the clipboard.

import { h, iconButton } from './dom.js';

const OPEN = 12; // maps and lists up to this size are open at first

/** @typedef {((path: string) => void) | undefined} PinIt */

/** @param {any} value @param {string} [path] @param {boolean} [open] whether its first level is unfolded @param {PinIt} [pin] pins a number @returns {HTMLElement} */
export function jsonTree(value, path = 'payload', open = true, pin) {
  return h('div', { class: 'json' }, branch('', value, path, open ? 0 : 1, pin));
}

/** The beginning of a value on one line. @param {any} value @returns {string} */
function preview(value) {
  const parts = Array.isArray(value) ? value.slice(0, 8).map(word) : Object.entries(value).slice(0, 8).map(([key, each]) => `${key}: ${word(each)}`);
  const text = parts.join(', ').slice(0, 120);
  return Array.isArray(value) ? `[${text}]` : `{${text}}`;
}

/** @param {any} value */
function word(value) {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)?.slice(0, 40) ?? 'null';
  return Array.isArray(value) ? `[${value.length}]` : '{…}';
}

/** @param {string} key @param {any} value @param {string} path @param {number} depth @param {PinIt} pin @returns {HTMLElement} */
function branch(key, value, path, depth, pin) {
  const name = key === '' ? null : h('span', { class: 'key', title: path }, `${key}: `);
  if (value === null || typeof value !== 'object') return h('div', { class: 'leaf', title: path }, name, leaf(value), pin && typeof value === 'number' && iconButton('pin', `Pin ${path}`, () => pin(path), { class: 'plain pin-it' }));
  const entries = Array.isArray(value) ? value.map((each, at) => /** @type {[string, any]} */ ([String(at), each])) : Object.entries(value);
  if (!entries.length) return h('div', { class: 'leaf' }, name, h('span', { class: 'other' }, Array.isArray(value) ? '[]' : '{}'));
  const details = h('details', { open: depth < 1 && entries.length <= OPEN }, h('summary', { data: { size: Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}` } }, name, h('span', { class: 'preview' }, preview(value))));
  const fill = () => {
    if (details.childElementCount > 1) return;
    details.append(...entries.slice(0, 200).map(([each, inner]) => branch(each, inner, below(path, each, Array.isArray(value)), depth + 1, pin)));
    if (entries.length > 200) details.append(h('div', { class: 'leaf key' }, `and ${entries.length - 200} more`));
  };
  if (details.open) fill();
  details.addEventListener('toggle', fill);
  return details;
}

/** The path of a part, as flows write it. @param {string} path @param {string} key @param {boolean} inList */
function below(path, key, inList) {
  if (inList) return `${path}[${key}]`;
  return /^[\w-]+$/.test(key) ? `${path}.${key}` : `${path}['${key.replace(/[\\']/g, '\\$&')}']`;
}

/** The numbers in a value by path, a bounded number of them. @param {any} value @param {string} [path] @param {[string, number][]} [found] @returns {[string, number][]} */
export function numbersIn(value, path = 'payload', found = []) {
  if (typeof value === 'number') found.push([path, value]);
  if (value === null || typeof value !== 'object') return found;
  for (const [key, each] of Object.entries(value)) {
    if (found.length >= 200) break;
    numbersIn(each, below(path, key, Array.isArray(value)), found);
  }
  return found;
}

/** @param {any} value */
function leaf(value) {
  if (typeof value === 'string') return h('span', { class: 'text' }, JSON.stringify(value.length > 2000 ? `${value.slice(0, 2000)}…` : value));
  if (typeof value === 'number') return h('span', { class: 'number' }, String(value));
  return h('span', { class: 'other' }, String(value));
}

/** A message, or what is left of a large one. @param {any} message @param {boolean} [open] @param {PinIt} [pin] */
export function messageTree(message, open = true, pin) {
  if (message && 'preview' in message) return h('div', { class: 'json' }, h('div', { class: 'leaf' }, h('span', { class: 'text' }, message.preview), h('span', { class: 'key' }, ` … ${message.bytes} bytes`)));
  if (message && 'value' in message && !('payload' in message)) return jsonTree(message.value, 'value', open);
  return jsonTree(message?.payload, 'payload', open, pin);
}

/** The time of day of a moment. @param {string | undefined} at */
export function clock(at) {
  return at ? (/T(\d\d:\d\d:\d\d(?:\.\d{1,3})?)/.exec(at)?.[1] ?? at) : '';
}
