// Lines of code in a plain text area: colours from a layer behind it, numbers beside it, faults at
// their line. The area stays what it was to keyboards, screen readers and the form.

import { h, put } from './dom.js';

const TOKENS = /(?<space>\s+)|(?<comment>#.*|--.*|\/\/.*)|(?<string>"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)|(?<number>\b\d[\w.]*)|(?<word>[A-Za-z_]\w*)|(?<sign>.)/g;
const WORDS = new Set('and or not in is if else elif for while def return import from as with try except raise class lambda None True False null true false select where group by order limit range filter'.split(' '));
const ROOTS = new Set(['payload', 'topic', 'key', 'time', 'meta', 'params']);

/** One line in pieces, each with its kind. @param {string} line @returns {[string, string][]} */
export function tokens(line) {
  return [...line.matchAll(TOKENS)].map(({ 0: text, groups }) => {
    const [kind] = Object.entries(groups ?? {}).find(([, found]) => found !== undefined) ?? ['sign'];
    if (kind !== 'word') return [kind, text];
    return [ROOTS.has(text) ? 'root' : WORDS.has(text.toLowerCase()) ? 'keyword' : 'word', text];
  });
}

/** A template: text, and expressions in its holes. @param {string} line @returns {[string, string][]} */
export function holes(line) {
  /** @type {[string, string][]} */
  const found = [];
  for (const piece of line.split(/(\{\{|\}\}|\{[^{}]*\}?)/).filter(Boolean)) {
    if (!/^\{(?!\{)/.test(piece)) found.push(['text', piece]);
    else {
      found.push(['hole', '{'], ...tokens(piece.slice(1).replace(/\}$/, '')));
      if (piece.endsWith('}')) found.push(['hole', '}']);
    }
  }
  return found;
}

/** @param {HTMLElement} box with the area in it @param {HTMLTextAreaElement} area @param {boolean} template */
export function dress(box, area, template) {
  const numbers = h('div', { class: 'numbers', 'aria-hidden': 'true' });
  const layer = h('pre', { class: 'layer', 'aria-hidden': 'true' });
  let faulty = 0;
  const draw = () => {
    const lines = area.value.split('\n');
    area.rows = Math.min(16, Math.max(template ? 1 : 3, lines.length));
    numbers.hidden = template && lines.length < 2;
    put(numbers, lines.map((_, at) => h('span', { class: at + 1 === faulty ? 'is-error' : '' }, String(at + 1))));
    put(layer, lines.map((line, at) => h('span', { class: at + 1 === faulty ? 'line is-faulty' : 'line' }, (template ? holes : tokens)(line).map(([kind, text]) => h('span', { class: `t-${kind}` }, text)), '\n')));
    follow();
  };
  const follow = () => {
    layer.scrollTo(area.scrollLeft, area.scrollTop);
    numbers.scrollTop = area.scrollTop;
  };
  area.addEventListener('input', draw);
  area.addEventListener('scroll', follow);
  area.addEventListener('diagnosed', (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    const next = detail ? (detail.line ?? 0) : 0;
    if (next !== faulty) {
      faulty = next;
      draw();
    }
  });
  box.prepend(numbers, layer);
  box.classList.add('is-dressed');
  draw();
}
