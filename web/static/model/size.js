// How large a node is drawn and where its ports are: the same numbers for HTML, canvas and layout.

import { portsOf, titleOf } from './types.js';

export const WIDTH = 168;
export const GRID = 10;
const ONE_LINE = 56;
const TWO_LINES = 74;
const TITLE_ROOM = 116; // what icon tile, state and padding leave for a title
const PORT_GAP = 22;
const NOTE = { w: 208, least: 60, line: 17, perLine: 32 };

/** @typedef {import('./store.js').Store} Store */

/** Width of semibold 13 px text, near enough to decide on a second line. @param {string} text */
export function textWidth(text) {
  let width = 0;
  for (const letter of text) {
    width += 'iljtfrI.,:;\'| '.includes(letter) ? 4.1 : 'mwMW@%'.includes(letter) ? 11 : letter <= 'Z' && letter >= 'A' ? 8.6 : 7.2;
  }
  return width;
}

/** @param {Store} store @param {Types} types @param {string} id @returns {Size} */
export function sizeOf(store, types, id) {
  const spec = store.nodes.get(id);
  if (!spec) return { w: WIDTH, h: ONE_LINE };
  if (types.get(spec.type)?.kind === 'note') return noteSize(spec);
  const lines = textWidth(titleOf(spec, id)) > TITLE_ROOM ? TWO_LINES : ONE_LINE;
  const ports = portsOf(store, types, id).length;
  return { w: WIDTH, h: Math.max(lines, 12 + ports * PORT_GAP) };
}

/** @param {NodeSpec} spec @returns {Size} */
function noteSize(spec) {
  const text = noteText(spec);
  const lines = text
    .split('\n')
    .reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / NOTE.perLine)), 0);
  return { w: NOTE.w, h: Math.max(NOTE.least, Math.min(24 + lines * NOTE.line, 320)) };
}

/** What a note says. @param {NodeSpec} spec @returns {string} */
export function noteText(spec) {
  return plainText(spec.config?.text) || plainText(spec.doc) || spec.title || '';
}

/** A text that the file may hold as a list of lines. @param {any} text @returns {string} */
export function plainText(text) {
  if (Array.isArray(text)) return text.join('\n');
  return typeof text === 'string' ? text : '';
}

/** @param {Store} store @param {Types} types @param {string} id @returns {Box} */
export function boxOf(store, types, id) {
  const [x, y] = store.at.get(id) ?? [0, 0];
  return { x, y, ...sizeOf(store, types, id) };
}

/** Height of the one input below the top edge. @param {Size} size */
export function inputAt(size) {
  return size.h / 2;
}

/** Height of output `index` of `count`. @param {Size} size @param {number} index @param {number} count */
export function outputAt(size, index, count) {
  return size.h / 2 + (index - (count - 1) / 2) * PORT_GAP;
}

/** Where the error port sits on the bottom edge. @param {Size} size @returns {Point} */
export function errorAt(size) {
  return [size.w - 24, size.h];
}

/** The least box around boxes. @param {Box[]} boxes @returns {Box | null} */
export function around(boxes) {
  if (!boxes.length) return null;
  const left = Math.min(...boxes.map((box) => box.x));
  const top = Math.min(...boxes.map((box) => box.y));
  return {
    x: left,
    y: top,
    w: Math.max(...boxes.map((box) => box.x + box.w)) - left,
    h: Math.max(...boxes.map((box) => box.y + box.h)) - top,
  };
}

/** @param {Box} a @param {Box} b @param {number} [room] kept free around them */
export function meet(a, b, room = 0) {
  return (
    a.x < b.x + b.w + room && b.x < a.x + a.w + room && a.y < b.y + b.h + room && b.y < a.y + a.h + room
  );
}

