// A value as a tree that folds, with the path of each part for the clipboard.

import { h } from './dom.js';

const OPEN = 12; // maps and lists up to this size are open at first

/** @param {any} value @param {string} [path] @param {boolean} [open] whether its first level is unfolded @returns {HTMLElement} */
export function jsonTree(value, path = 'payload', open = true) {
  return h('div', { class: 'json' }, branch('', value, path, open ? 0 : 1));
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

/** @param {string} key @param {any} value @param {string} path @param {number} depth @returns {HTMLElement} */
function branch(key, value, path, depth) {
  const name = key === '' ? null : h('span', { class: 'key', title: path }, `${key}: `);
  if (value === null || typeof value !== 'object') return h('div', { class: 'leaf', title: path }, name, leaf(value));
  const entries = Array.isArray(value) ? value.map((each, at) => /** @type {[string, any]} */ ([String(at), each])) : Object.entries(value);
  if (!entries.length) return h('div', { class: 'leaf' }, name, h('span', { class: 'other' }, Array.isArray(value) ? '[]' : '{}'));
  const details = h('details', { open: depth < 1 && entries.length <= OPEN }, h('summary', { data: { size: Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}` } }, name, h('span', { class: 'preview' }, preview(value))));
  const fill = () => {
    if (details.childElementCount > 1) return;
    details.append(...entries.slice(0, 200).map(([each, inner]) => branch(each, inner, Array.isArray(value) ? `${path}[${each}]` : `${path}.${each}`, depth + 1)));
    if (entries.length > 200) details.append(h('div', { class: 'leaf key' }, `and ${entries.length - 200} more`));
  };
  if (details.open) fill();
  details.addEventListener('toggle', fill);
  return details;
}

/** @param {any} value */
function leaf(value) {
  if (typeof value === 'string') return h('span', { class: 'text' }, JSON.stringify(value.length > 2000 ? `${value.slice(0, 2000)}…` : value));
  if (typeof value === 'number') return h('span', { class: 'number' }, String(value));
  return h('span', { class: 'other' }, String(value));
}

/** A message, or what is left of a large one. @param {any} message @param {boolean} [open] */
export function messageTree(message, open = true) {
  if (message && 'preview' in message) return h('div', { class: 'json' }, h('div', { class: 'leaf' }, h('span', { class: 'text' }, message.preview), h('span', { class: 'key' }, ` … ${message.bytes} bytes`)));
  if (message && 'value' in message && !('payload' in message)) return jsonTree(message.value, 'value', open);
  return jsonTree(message?.payload, 'payload', open);
}

/** The time of day of a moment. @param {string | undefined} at */
export function clock(at) {
  return at ? (/T(\d\d:\d\d:\d\d(?:\.\d{1,3})?)/.exec(at)?.[1] ?? at) : '';
}
