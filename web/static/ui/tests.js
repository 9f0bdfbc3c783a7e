// The Tests tab: what goes in and what must come out, run on the draft with a told clock.

import { h, icon, put } from './dom.js';

/** @param {any} app @param {HTMLElement} element */
export function show(app, element) {
  /** @type {any} */
  let document_ = null;
  let etag = '*';
  /** @type {any} */
  let result = null;
  const path = app.api.flow(app.id, '/tests');

  const load = async () => {
    try {
      const answer = await app.api.call('GET', path);
      document_ = answer.data.document;
      etag = answer.etag || '*';
    } catch (error) {
      app.problem(error);
    }
    draw();
  };
  const run = async (/** @type {string[] | null} */ names) => {
    await app.draft.flush();
    put(tools, h('span', { class: 'muted' }, 'Running…'));
    try {
      result = await app.api.post(`${path}/run`, { names, document: null });
      app.speak(`${result.passed} passed, ${result.failed} failed`);
    } catch (error) {
      app.problem(error);
    }
    draw();
  };
  const capture = async () => {
    const { ask } = await import('./ask.js');
    const name = await ask({ title: 'Record a test', label: 'Name', value: 'as recorded', ok: 'Record 10 s', help: 'What comes in during the next ten seconds becomes the input, what the sinks get becomes what must come out.' });
    if (!name) return;
    app.say('Recording for ten seconds…');
    try {
      const { test } = await app.api.post(`${path}/capture`, { name, seconds: 10, outputs: null, inputs: null });
      await save({ format: 1, tests: [...(document_?.tests ?? []), test] });
      app.say(`The test “${name}” is saved.`);
    } catch (error) {
      app.problem(error);
    }
  };
  const save = async (/** @type {any} */ next) => {
    const answer = await app.api.call('PUT', path, { body: { document: next }, etag });
    document_ = next;
    etag = answer.etag || '*';
    draw();
  };
  const remove = async (/** @type {string} */ name) => {
    await save({ ...document_, tests: document_.tests.filter((/** @type {any} */ test) => test.name !== name) }).catch((error) => app.problem(error));
  };

  const tools = h('div', { class: 'item' });
  const list = h('div', {});
  put(element, tools, list);

  const draw = () => {
    const tests = document_?.tests ?? [];
    put(
      tools,
      h('button', { type: 'button', disabled: !tests.length, on: { click: () => run(null) } }, icon('play'), 'Run all'),
      h('button', { type: 'button', class: 'plain', disabled: app.readOnly || !app.now.running, title: 'Make a test of what passes now', on: { click: capture } }, 'Record…'),
      result ? h('span', { class: result.failed ? 'is-error' : 'is-ok' }, `${result.passed} passed, ${result.failed} failed`) : null,
    );
    put(list, tests.length ? tests.map(row) : h('p', { class: 'nothing' }, 'No tests yet. Record one from what passes now, or write them beside the flow: flows/NAME.test.json.'));
  };
  const row = (/** @type {any} */ test) => {
    const found = result?.results.find((/** @type {any} */ each) => each.name === test.name);
    const mark = found ? (found.passed ? ['check', 'is-ok', 'passed'] : ['cross', 'is-error', 'failed']) : ['tests', 'is-muted', 'not run'];
    return h(
      'details',
      { class: 'fold', open: found && !found.passed },
      h('summary', {}, h('span', { class: mark[1], title: mark[2] }, icon(mark[0]), h('span', { class: 'unseen' }, mark[2])), h('span', { class: 'grow' }, test.name)),
      found?.differences.length ? h('pre', { class: 'diff', tabIndex: 0, 'aria-label': 'What differs' }, found.differences.join('\n')) : null,
      h('pre', { class: 'diff', tabIndex: 0, 'aria-label': 'The test' }, JSON.stringify(test, null, 2)),
      h('div', { class: 'item' }, h('button', { type: 'button', on: { click: () => run([test.name]) } }, 'Run'), h('button', { type: 'button', class: 'plain danger', disabled: app.readOnly, on: { click: () => remove(test.name) } }, 'Remove')),
    );
  };
  draw();
  void load();
}
