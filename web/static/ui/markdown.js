// Markdown to elements: paragraphs, lists, tables, headings, code, bold, emphasis, links to http(s).
//
// Made of elements and texts, never of HTML, so that a note can do nothing but be read.

import { h } from './dom.js';

/** @param {string} text @returns {HTMLElement} */
export function markdown(text) {
  const root = h('div', { class: 'prose' });
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  /** @type {string[]} */
  let held = [];
  const flush = () => {
    if (held.length) root.append(h('p', {}, inline(held.join(' '))));
    held = [];
  };
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at];
    const item = /^\s*(?:[-*]|\d+\.)\s+(.*)$/.exec(line);
    const head = /^#{1,4}\s+(.*)$/.exec(line);
    if (/^```/.test(line)) {
      flush();
      const code = [];
      while (++at < lines.length && !/^```/.test(lines[at])) code.push(lines[at]);
      root.append(h('pre', { tabIndex: 0 }, code.join('\n')));
    } else if (head) {
      flush();
      root.append(h('h3', {}, inline(head[1])));
    } else if (line.includes('|') && RULE.test(lines[at + 1] ?? '')) {
      flush();
      const heads = cells(line);
      const rows = [];
      for (at += 1; lines[at + 1]?.includes('|'); at++) rows.push(cells(lines[at + 1]));
      const made = (/** @type {'th' | 'td'} */ tag, /** @type {string[]} */ row) => h('tr', {}, heads.map((_, column) => h(tag, {}, inline(row[column] ?? ''))));
      root.append(h('table', {}, h('thead', {}, made('th', heads)), h('tbody', {}, rows.map((row) => made('td', row)))));
    } else if (item) {
      flush();
      const tag = /^\s*\d/.test(line) ? 'ol' : 'ul';
      const last = root.lastElementChild;
      const list = last?.localName === tag ? last : root.appendChild(h(tag, {}));
      list.append(h('li', {}, inline(item[1])));
    } else if (!line.trim()) flush();
    else if (!held.length && /^\s{2,}\S/.test(line) && root.lastElementChild?.matches('ul, ol')) root.lastElementChild.lastElementChild?.append(' ', ...inline(line.trim()));
    else held.push(line.trim());
  }
  flush();
  return root;
}

const RULE = /^(?=.*\|)\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** @param {string} row */
function cells(row) {
  const bare = row.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '');
  return bare.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

const MARKS = /(`[^`]+`)|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;

/** Marks within a line. @param {string} text @returns {(Node | string)[]} */
export function inline(text) {
  /** @type {(Node | string)[]} */
  const found = [];
  let last = 0;
  for (const match of text.matchAll(MARKS)) {
    found.push(text.slice(last, match.index));
    last = match.index + match[0].length;
    const [, code, bold, soft, label, href] = match;
    if (code) found.push(h('code', {}, code.slice(1, -1)));
    else if (bold) found.push(h('strong', {}, bold));
    else if (soft) found.push(h('em', {}, soft));
    else found.push(h('a', { href, rel: 'noopener noreferrer', target: '_blank' }, label));
  }
  found.push(text.slice(last));
  return found;
}
