// The History panel: the steps of this draft to go back to, and every version that was deployed.

import { ago, h, icon, plural, put } from './dom.js';

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  const [steps, versions] = [h('div', {}), h('div', {})];
  put(element, h('div', { class: 'columns' }, h('section', {}, h('h3', {}, 'Steps'), steps), h('section', {}, h('h3', {}, 'Deployed'), versions)));
  const draw = () => {
    const { history } = app;
    const rows = history.steps.map((/** @type {Step} */ step, /** @type {number} */ at) =>
      h(
        'button',
        { type: 'button', class: `line-row step-row${at >= history.done ? ' undone' : ''}`, disabled: app.readOnly, 'aria-current': at === history.done - 1 ? 'true' : undefined, on: { click: () => history.go(at + 1) } },
        icon(at >= history.done ? 'redo' : 'check'),
        h('span', {}, step.label),
        h('span', { class: 'small muted' }, ago(new Date(step.time).toISOString())),
      ),
    );
    const begin = h('button', { type: 'button', class: 'line-row step-row', disabled: app.readOnly, 'aria-current': history.done === 0 ? 'true' : undefined, on: { click: () => history.go(0) } }, icon('right'), h('span', {}, 'As it was opened'), h('span', {}));
    put(steps, rows.reverse(), begin);
  };
  const load = async () => {
    try {
      const { entries } = await app.api.get(app.api.flow(app.id, '/history'));
      put(versions, entries.map((/** @type {any} */ entry) => version(app, entry)), entries.length ? null : h('p', { class: 'nothing' }, 'Never deployed.'));
    } catch (error) {
      put(versions, h('p', { class: 'nothing is-error' }, error.message));
    }
  };
  draw();
  void load();
  const stops = [app.on('history', draw), app.on('deployed', load)];
  return () => stops.forEach((stop) => stop());
}

/** @param {any} app @param {any} entry */
function version(app, entry) {
  const compare = async () => {
    await app.draft.flush();
    const { dialogue } = await import('./ask.js');
    const { diffView } = await import('./deploy.js');
    const diff = await app.api.get(app.api.flow(app.id, `/diff?from=${entry.entry}&to=draft`));
    const back = app.can('edit') && (await dialogue(`From version ${entry.entry} to the draft`, [diff.same ? h('p', {}, 'Nothing differs.') : diffView(diff.text)], 'Return to this version', () => true));
    if (back) {
      await app.draft.reload(await app.api.post(app.api.flow(app.id, `/history/${entry.entry}/return`)));
      app.say(`The draft is version ${entry.entry} again; deploy it to run it.`);
    }
  };
  return h(
    'button',
    { type: 'button', class: 'line-row step-row', on: { click: () => compare().catch((error) => app.problem(error)) } },
    icon('deploy'),
    h('span', {}, `Version ${entry.entry}`, entry.note ? `: ${entry.note}` : '', h('span', { class: 'small muted' }, ` · ${plural(entry.nodes, 'node')}${entry.by ? ` · ${entry.by}` : ''}`)),
    h('span', { class: 'small muted' }, ago(entry.at)),
  );
}
