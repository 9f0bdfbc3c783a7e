// The start page: all flows with how they fare, examples to begin with, and the import.

import { Api } from './net/api.js';
import { Live } from './net/live.js';
import { at, ago, h, icon, plural, put, setStatic } from './ui/dom.js';
import { fare } from './ui/flowlist.js';
import { applyTaste, swapTheme } from './ui/memory.js';

const page = JSON.parse(at('page').textContent ?? '{}');
setStatic(page.static);
applyTaste();
const api = new Api(page.base, page.csrf);
const live = new Live(page.base);
const may = (/** @type {string} */ right) => Boolean(page.user?.rights?.includes(right));

/** @type {Map<string, FlowState>} */
const flows = new Map(page.flows.map((/** @type {FlowState} */ state) => [state.id, state]));

/** @param {FlowState} state */
function row(state) {
  const [level, word] = fare(state);
  const faults = state.errors ? h('span', { class: 'badge error' }, plural(state.errors, 'error')) : state.warnings ? h('span', { class: 'badge warn' }, plural(state.warnings, 'warning')) : null;
  return h(
    'a',
    { class: 'flow-row', href: `/flows/${encodeURIComponent(state.id)}` },
    h('span', { class: 'tile cat-flow' }, icon('cat-flow')),
    h('span', { class: 'grow' }, h('b', {}, state.title || state.id), h('small', {}, `${state.id} · ${plural(state.nodes, 'node')}`)),
    faults,
    h('span', { class: `state is-${level}` }, h('span', { class: 'swatch' }), word),
    h('span', { class: 'when muted small' }, state.draft.at ? `edited ${ago(state.draft.at)}` : ''),
    icon('right'),
  );
}

function draw() {
  const wanted = /** @type {HTMLInputElement} */ (at('find-flow')).value.toLowerCase();
  const all = [...flows.values()].filter((state) => `${state.title} ${state.id}`.toLowerCase().includes(wanted));
  put(at('flow-rows'), all.length ? all.map(row) : h('p', { class: 'nothing' }, flows.size ? 'No flow has this name.' : 'No flows yet: begin with an example or a blank one.'));
}

/** @param {any} example */
function exampleCard(example) {
  const needs = [example.needs?.broker && 'a broker', ...(example.needs?.secrets ?? [])].filter(Boolean);
  return h(
    'button',
    { type: 'button', class: 'card', disabled: !may('edit'), on: { click: () => create({ example: example.name }) } },
    h('b', {}, example.title || example.name),
    h('span', {}, firstSentence(example.doc)),
    h('span', { class: 'foot' }, plural(example.nodes, 'node'), example.offline ? ' · runs offline' : needs.length ? ` · needs ${needs.join(', ')}` : ''),
  );
}

/** @param {string | string[] | null} doc */
function firstSentence(doc) {
  const text = (Array.isArray(doc) ? doc.join(' ') : (doc ?? '')).replace(/[*`_]/g, '');
  return text.split(/(?<=[.!?])\s/)[0].slice(0, 140);
}

/** @param {{example?: string, title?: string}} how */
async function create(how) {
  try {
    const whole = await api.post('/flows', { id: null, title: how.title ?? null, example: how.example ?? null, document: null, layout: null });
    location.assign(`/flows/${encodeURIComponent(whole.state.id)}`);
  } catch (error) {
    say(error.message, error.mend);
  }
}

/** @param {string} text @param {string} [mend] */
function say(text, mend = '') {
  const toast = at('toast');
  put(toast, h('p', {}, `${text} ${mend}`.trim()));
  toast.hidden = false;
}

async function askBlank() {
  const { ask } = await import('./ui/ask.js');
  const title = await ask({ title: 'Blank flow', label: 'Title', value: '', ok: 'Create', help: 'It begins with a tick wired to a debug node; nothing runs before you deploy.', check: (text) => (text ? '' : 'It needs a title.') });
  if (title) await create({ title });
}

async function openImport(text = '') {
  (await import('./ui/import.js')).openImport(api, text);
}

at('find-flow').addEventListener('input', draw);
at('new-blank').addEventListener('click', askBlank);
at('new-import').addEventListener('click', () => openImport());
at('theme').addEventListener('click', swapTheme);
at('log-out').addEventListener('click', async () => {
  await api.call('DELETE', '/session');
  location.assign('/login');
});
for (const id of ['new-blank', 'new-import']) /** @type {HTMLButtonElement} */ (at(id)).disabled = !may('edit');
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', async (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer?.files ?? [];
  if (file && may('edit')) await openImport(await file.text());
});
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !/** @type {HTMLElement} */ (event.target).closest('input, textarea')) {
    event.preventDefault();
    at('find-flow').focus();
  }
});

put(at('example-cards'), (page.examples ?? []).map(exampleCard));
draw();
live.sub('status', (d) => {
  for (const state of d.flows ?? []) flows.set(state.id, state);
  for (const id of d.gone ?? []) flows.delete(id);
  draw();
});
live.open();
void import('./ui/topics.js').then(({ watchTopics }) => watchTopics(api, Boolean(page.features?.broker), say));
document.documentElement.dataset.ready = 'true';
