// One field and a list under it: the shape of palette, quick-add, connect and every other choice.

import { freshId, h, icon, put } from './dom.js';

/**
 * @typedef {{name: string, note?: string, side?: string, picture?: Node | null, off?: boolean, run: () => void}} Choice
 * @typedef {{head?: string, items: Choice[]}} Part
 */

const MOST = 80;

/**
 * Ask for one of several things; what is chosen runs after the dialog has closed.
 * @param {{label: string, placeholder: string, parts: (query: string) => Part[], foot?: string[], none?: string, query?: string}} how
 * @returns {Promise<boolean>} whether something was chosen
 */
export function pick({ label, placeholder, parts, foot = [], none = 'Nothing found.', query = '' }) {
  const id = freshId('choices');
  const input = h('input', {
    type: 'text', role: 'combobox', placeholder, 'aria-label': label, 'aria-controls': id, 'aria-expanded': 'true', 'aria-autocomplete': 'list',
    autocomplete: 'off', spellcheck: false, value: query,
  });
  const list = h('div', { class: 'choices', role: 'listbox', id, 'aria-label': label });
  const dialog = h('dialog', { class: 'palette', 'aria-label': label }, h('div', { class: 'query' }, icon('search'), input), list, foot.length ? h('div', { class: 'foot' }, foot.map((each) => h('span', {}, each))) : null);
  /** @type {Choice[]} */
  let shown = [];
  let at = 0;
  /** @type {(index: number) => void} */
  let choose = () => undefined;

  const mark = () => {
    [...list.querySelectorAll('[role=option]')].forEach((row, index) => {
      row.setAttribute('aria-selected', String(index === at));
      if (index === at) {
        input.setAttribute('aria-activedescendant', row.id);
        row.scrollIntoView({ block: 'nearest' });
      }
    });
  };
  const draw = () => {
    shown = [];
    const made = parts(input.value.trim()).flatMap((part) => {
      const items = part.items.slice(0, MOST - shown.length);
      if (!items.length) return [];
      const rows = items.map((item) => {
        const index = shown.push(item) - 1;
        return row(item, `${id}-${index}`, () => choose(index));
      });
      return [h('div', { role: 'group', 'aria-label': part.head ?? label }, part.head ? h('h3', { 'aria-hidden': 'true' }, part.head) : null, rows)];
    });
    put(list, made.length ? made : h('div', { role: 'option', 'aria-selected': 'false', 'aria-disabled': 'true', class: 'choice muted' }, none));
    input.removeAttribute('aria-activedescendant');
    at = Math.max(0, shown.findIndex((each) => !each.off));
    mark();
  };

  return new Promise((done) => {
    const close = (/** @type {Choice | undefined} */ chosen) => {
      dialog.close();
      dialog.remove();
      before?.focus?.({ preventScroll: true });
      chosen?.run();
      done(Boolean(chosen));
    };
    choose = (index) => {
      const chosen = shown[index];
      if (chosen && !chosen.off) close(chosen);
    };
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    input.addEventListener('input', draw);
    input.addEventListener('keydown', (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
      if (event.key === 'Enter') choose(at);
      else if (step && shown.length) at = (at + step + shown.length * 8) % shown.length;
      else return;
      event.preventDefault();
      mark();
    });
    dialog.addEventListener('cancel', (event) => {
      event.preventDefault();
      close(undefined);
    });
    dialog.addEventListener('pointerdown', (event) => event.target === dialog && close(undefined));
    document.body.append(dialog);
    draw();
    dialog.showModal();
    input.focus();
    input.select();
  });
}

/** @param {Choice} item @param {string} id @param {() => void} run */
function row(item, id, run) {
  return h(
    'div',
    { class: 'choice', role: 'option', id, 'aria-selected': 'false', 'aria-disabled': item.off ? 'true' : undefined, on: { click: run } },
    item.picture ?? null,
    h('span', { class: 'name' }, item.name, item.note ? h('small', {}, item.note) : null),
    item.side ? h('span', { class: 'side' }, item.side) : null,
  );
}
