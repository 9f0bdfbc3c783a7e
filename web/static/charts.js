// The charts page: series of the box's own store, for a screen on a wall that nobody touches.
//
// Everything that is shown stands in the address; each refresh takes the place of the one before.

import { onTheme } from './canvas/colours.js';
import { Api } from './net/api.js';
import { ago, at, h, icon, iconButton, later, put, setStatic } from './ui/dom.js';
import { applyTaste, swapTheme } from './ui/memory.js';
import { clockWord, figure, look, momentAt, nearest, plot, range } from './ui/plot.js';

/** @typedef {{series: string, field: string, tags: Record<string, string>}} Which */

const SPANS = /** @type {Record<string, string>} */ ({ '15m': '15 min', '1h': '1 h', '6h': '6 h', '24h': '24 h', '7d': '7 d' });
const EVERY = /** @type {Record<string, number>} */ ({ '15m': 5, '1h': 10, '6h': 30, '24h': 60, '7d': 300 });
const MOST = 24;
const AT_FIRST = 6;
const ROWS = 40;

const page = JSON.parse(at('page').textContent ?? '{}');
setStatic(page.static);
applyTaste();
const api = new Api(page.base, page.csrf);
const given = new URLSearchParams(location.search);
const state = {
  span: SPANS[given.get('span') ?? ''] ? String(given.get('span')) : '1h',
  every: Math.min(3600, Math.max(0, Number(given.get('every') ?? NaN))),
  table: given.get('as') === 'table',
  shown: given.getAll('s').map(read).filter((each) => each !== null).slice(0, MOST),
};

/** A series as the address has it: name/field/tag=value/… @param {string} text @returns {Which | null} */
function read(text) {
  try {
    const [series, field, ...tags] = text.split('/').map(decodeURIComponent);
    return series ? { series, field: field || 'value', tags: Object.fromEntries(tags.map((each) => [each.split('=')[0], each.split('=').slice(1).join('=')])) } : null;
  } catch {
    return null;
  }
}

/** @param {Which} which */
function write({ series, field, tags }) {
  return [series, field, ...Object.entries(tags).map(([name, value]) => `${name}=${value}`)].map(encodeURIComponent).join('/');
}

const seconds = () => (Number.isNaN(state.every) ? EVERY[state.span] : state.every);
const tagsText = (/** @type {Record<string, string>} */ tags) => Object.entries(tags).map(([name, value]) => `${name} ${value}`).join(' · ');

/** One chart: what it shows, and its elements, which stay when the figures change. */
class Chart {
  /** @param {Which} which */
  constructor(which) {
    this.which = which;
    /** @type {any} */
    this.found = null;
    /** @type {number | null} */
    this.pointer = null;
    this.canvas = h('canvas', { role: 'img', 'aria-label': `Chart of ${which.series}.${which.field}` });
    this.big = h('p', { class: 'big num' }, '–');
    this.when = h('p', { class: 'small muted num' });
    this.legend = h('div', { class: 'legend' });
    this.table = h('div', { class: 'table', tabIndex: 0, role: 'region', 'aria-label': `Values of ${which.series}.${which.field}` });
    this.fault = h('p', { class: 'small is-error', hidden: true });
    this.element = h(
      'article',
      { class: 'chart' },
      h('header', {}, h('div', { class: 'grow' }, h('h2', {}, which.series, h('span', { class: 'muted' }, `.${which.field}`)), h('p', { class: 'small muted' }, tagsText(which.tags) || 'all tags')), h('div', { class: 'newest' }, this.big, this.when), iconButton('close', `Remove ${which.series}.${which.field}`, () => remove(this), { class: 'plain tiny' })),
      this.fault, this.canvas, this.table, this.legend,
    );
    this.canvas.addEventListener('pointermove', (event) => this.point(event.offsetX));
    this.canvas.addEventListener('pointerleave', () => this.point(null));
  }

  /** @param {number | null} x */
  point(x) {
    if (!this.found) return;
    this.pointer = x === null ? null : momentAt(this.canvas, x, this.found);
    this.draw();
  }

  async refresh() {
    const { series, field, tags } = this.which;
    const points = Math.min(600, Math.max(60, Math.round((this.element.clientWidth || 600) / 2)));
    const query = new URLSearchParams({ series, field, tags: JSON.stringify(tags), span: state.span, points: String(points) });
    try {
      this.found = await api.get(`/charts/lines?${query}`);
      this.fault.hidden = true;
    } catch (error) {
      if (error.slug === 'no-connection') throw error;
      put(this.fault, `${error.message} ${error.mend ?? ''}`.trim());
      this.fault.hidden = false;
    }
    this.draw();
  }

  draw() {
    if (!this.found) return;
    const { lines, from, to, more } = this.found;
    const newest = lines.reduce((/** @type {any} */ best, /** @type {any} */ line) => (!best || line.last > best.last ? line : best), null);
    // Of several, each stands large in its own row.
    this.big.textContent = lines.length > 1 ? '' : newest ? figure(newest.value) : '–';
    this.legend.classList.toggle('many', lines.length > 1);
    const old = newest && Date.now() - Date.parse(newest.last) > 10 * 60_000;
    this.when.className = `small num ${old ? 'is-warn' : 'muted'}`;
    this.when.textContent = newest ? ago(newest.last) : 'nothing stored';
    this.canvas.hidden = state.table;
    this.table.hidden = !state.table;
    if (state.table) this.rows(lines);
    else plot(this.canvas, { lines, from, to, at: this.pointer });
    put(
      this.legend,
      lines.map((/** @type {any} */ line, /** @type {number} */ index) => this.key(line, index)),
      more ? h('p', { class: 'small muted' }, 'and more: name tags to see them') : null,
      lines.length ? null : h('p', { class: 'small muted' }, 'No series of this name is stored.'),
    );
  }

  /** A line of the legend: least and most of the time shown, and the value under the pointer. @param {any} line @param {number} index */
  key(line, index) {
    const found = range(line.points);
    const { colour, dash } = look(index);
    const mark = h('span', { class: 'mark' });
    mark.style.borderTop = `2.5px ${dash.length ? (dash[0] < 3 ? 'dotted' : 'dashed') : 'solid'} ${colour}`;
    const value = this.pointer !== null && line.points.length ? nearest(line.points, this.pointer)[1] : line.value;
    return h('p', {}, mark, h('span', { class: 'grow' }, tagsText(line.tags) || line.series), h('b', { class: 'num' }, figure(value)), h('span', { class: 'small muted num' }, found ? `${figure(found.least)} – ${figure(found.most)}` : 'no points'));
  }

  /** @param {any[]} lines */
  rows(lines) {
    /** @type {Map<number, any[]>} */
    const rows = new Map();
    lines.forEach((line, index) => {
      for (const point of line.points.slice(-ROWS)) {
        const row = rows.get(point[0]) ?? [];
        row[index] = point[1];
        rows.set(point[0], row);
      }
    });
    const newest = [...rows].sort((a, b) => b[0] - a[0]).slice(0, ROWS);
    const far = state.span.endsWith('d') || state.span === '24h';
    put(
      this.table,
      h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Time'), lines.map((line) => h('th', { scope: 'col' }, tagsText(line.tags) || line.field)))), h('tbody', {}, newest.map(([ms, row]) => h('tr', {}, h('td', { class: 'num muted' }, clockWord(ms, far)), lines.map((_, index) => h('td', { class: 'num' }, row[index] === undefined ? '' : figure(row[index]))))))),
    );
  }
}

/** @type {Chart[]} */
let charts = [];
let timer = 0;
let running = false;
let again = false;

/** Read everything once more, one chart after the other, and come back when it is time. */
async function refresh() {
  clearTimeout(timer);
  if (running) return void (again = true);
  running = true;
  const status = at('charts-status');
  try {
    for (const chart of charts) await chart.refresh();
    status.className = 'small muted num';
    status.textContent = charts.length ? `Updated ${clockWord(Date.now())}` : '';
  } catch {
    status.className = 'small is-warn num';
    if (!status.textContent?.startsWith('No conn')) status.textContent = `No connection since ${clockWord(Date.now())}`;
  }
  running = false;
  if (again) {
    again = false;
    return refresh();
  }
  if (seconds() && !document.hidden) timer = window.setTimeout(refresh, seconds() * 1000);
}

/** Keep the address: who opens it sees the same. */
function keep() {
  const query = new URLSearchParams();
  query.set('span', state.span);
  if (!Number.isNaN(state.every)) query.set('every', String(state.every));
  if (state.table) query.set('as', 'table');
  for (const each of state.shown) query.append('s', write(each));
  history.replaceState(null, '', `?${query}`);
}

function show() {
  keep();
  const before = new Map(charts.map((chart) => [write(chart.which), chart]));
  charts = state.shown.map((which) => before.get(write(which)) ?? new Chart(which));
  put(at('charts'), charts.map((chart) => chart.element));
  at('charts').dataset.count = String(charts.length);
  at('charts-none').hidden = charts.length > 0;
  for (const button of document.querySelectorAll('[data-span]')) button.setAttribute('aria-pressed', String(/** @type {HTMLElement} */ (button).dataset.span === state.span));
  at('as-table').setAttribute('aria-pressed', String(state.table));
  /** @type {HTMLSelectElement} */ (at('every')).value = Number.isNaN(state.every) ? '' : String(state.every);
  for (const chart of charts) chart.draw();
  void refresh();
}

/** @param {Chart} chart */
function remove(chart) {
  state.shown = state.shown.filter((each) => write(each) !== write(chart.which));
  show();
  at('add-series').focus();
}

/** Series by words; a click adds one or takes it away. */
function openFind() {
  const input = h('input', { type: 'search', placeholder: 'Name, field or tag', 'aria-label': 'Find a series', autocomplete: 'off' });
  const list = h('div', { class: 'found', role: 'group', 'aria-label': 'Series' });
  const dialog = h('dialog', { class: 'find-series', 'aria-label': 'Choose series' }, h('header', {}, h('h2', {}, 'Choose series'), iconButton('close', 'Close', () => dialog.close(), { class: 'plain tiny' })), h('div', { class: 'body' }, input, list));
  const row = (/** @type {Which} */ which, /** @type {string} */ note, /** @type {string} */ side) => {
    const has = () => state.shown.some((each) => write(each) === write(which));
    const mark = h('span', { class: 'check' }, has() && icon('check'));
    const button = h('button', { type: 'button', class: 'plain', 'aria-pressed': String(has()), on: { click: () => {
      state.shown = has() ? state.shown.filter((each) => write(each) !== write(which)) : [...state.shown, which].slice(-MOST);
      button.setAttribute('aria-pressed', String(has()));
      put(mark, has() && icon('check'));
      show();
    } } }, mark, h('span', { class: 'grow' }, h('b', {}, which.series, h('span', { class: 'muted' }, `.${which.field}`)), h('small', {}, note)), h('span', { class: 'small muted num' }, side));
    return button;
  };
  const find = async () => {
    const { series, more } = await api.get(`/charts/series?${new URLSearchParams({ find: input.value })}`);
    /** @type {Map<string, any[]>} */
    const groups = new Map();
    for (const each of series) groups.set(`${each.series}\n${each.field}`, [...(groups.get(`${each.series}\n${each.field}`) ?? []), each]);
    put(list, [...groups.values()].flatMap((all) => [
      all.length > 1 ? row({ ...all[0], tags: {} }, `all ${all.length}, a line each`, '') : null,
      ...all.map((each) => row(each, tagsText(each.tags) || 'no tags', `${figure(each.value)} · ${ago(each.last)}`)),
    ]), more ? h('p', { class: 'small muted' }, 'There are more: type what you look for.') : null, series.length ? null : h('p', { class: 'small muted' }, input.value ? 'Nothing found.' : 'Nothing is stored yet: a node series.write does it.'));
  };
  input.addEventListener('input', later(() => void find(), 200));
  dialog.addEventListener('close', () => (dialog.remove(), at('add-series').focus()));
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
  void find();
}

for (const button of document.querySelectorAll('[data-span]')) button.addEventListener('click', () => {
  state.span = /** @type {HTMLElement} */ (button).dataset.span ?? '1h';
  show();
});
at('every').addEventListener('change', () => {
  const { value } = /** @type {HTMLSelectElement} */ (at('every'));
  state.every = value === '' ? NaN : Number(value);
  show();
});
at('as-table').addEventListener('click', () => {
  state.table = !state.table;
  show();
});
at('add-series').addEventListener('click', openFind);
at('add-first').addEventListener('click', openFind);
at('theme').addEventListener('click', swapTheme);
const redraw = () => charts.forEach((chart) => chart.draw());
onTheme(redraw);
new ResizeObserver(later(redraw, 100)).observe(at('charts'));
document.addEventListener('visibilitychange', () => !document.hidden && void refresh());

/** Nothing is named in the address: begin with what there is. */
async function begin() {
  if (!state.shown.length && page.has_store && !given.has('s')) {
    const { series } = await api.get('/charts/series');
    const seen = new Set();
    for (const { series: name, field, value } of series) {
      if (typeof value === 'string' || seen.has(`${name}.${field}`) || seen.size === AT_FIRST) continue;
      seen.add(`${name}.${field}`);
      state.shown.push({ series: name, field, tags: {} });
    }
  }
  show();
  document.documentElement.dataset.ready = 'true';
}

void begin();
