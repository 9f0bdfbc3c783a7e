// Listening to what runs: status line, live figures on canvas and outline, who else is here.

import { short } from '../net/now.js';
import { at, h, put } from './dom.js';

/** @param {any} app */
export function watch(app) {
  const { live, now, id } = app;
  const stem = `flow/${id}`;
  /** @type {any} */
  let engine = null;

  const statusLine = () => {
    const state = at('engine-state');
    const [level, word] = !live.up ? ['warn', 'No connection, trying again'] : now.running ? ['ok', 'Running'] : app.state.refused?.length ? ['error', 'Refused'] : ['muted', app.state.deployed ? 'Stopped' : 'Not deployed'];
    put(state, h('span', { class: `swatch is-${level}` }), h('span', {}, word));
    at('engine-rate').textContent = engine && live.up ? `${short(engine.rate)} msg/s` : '';
    at('engine-cpu').textContent = engine && live.up ? `CPU ${Math.round(engine.cpu)} %` : '';
    at('engine-memory').textContent = engine && live.up ? `${Math.round(engine.memory / 1e6)} MB` : '';
  };

  now.listen((/** @type {string} */ what, /** @type {Set<string>} */ ids) => {
    if (what === 'metrics') app.wires.pulse(now.moved);
    // Cards show states and losses; values and rates are drawn on the canvas, which is cheaper.
    if (what === 'status') app.cards.touch(app.cards.cards.keys());
    else if (what === 'metrics') app.cards.told(ids);
    // Words change twice a second, for people to read them.
    if (what === 'values' || performance.now() - app.wires.written > 450) app.view.flow();
    app.tell('now');
  });
  live.sub(`${stem}/metrics`, (/** @type {any} */ d) => now.metrics(d));
  live.sub(`${stem}/values`, (/** @type {any} */ d) => now.gotValues(d));
  live.sub(`${stem}/status`, (/** @type {any} */ d) => {
    const before = now.running;
    now.status(d);
    if (d.connections) for (const [name, state] of Object.entries(d.connections)) now.states.set(name, /** @type {any} */ (state));
    if (d.state) app.gotState(d.state);
    if (before !== now.running) app.tell('running');
    statusLine();
  });
  live.sub('status', (/** @type {any} */ d) => {
    engine = d.engine ?? engine;
    statusLine();
  });
  live.sub('restarted', () => app.draft.returned().catch((/** @type {any} */ error) => app.problem(error)));
  live.sub(`${stem}/ops`, (/** @type {any} */ d) => ops(app, d));
  live.watchers.add((/** @type {boolean} */ up) => {
    if (!up) now.running = false;
    statusLine();
  });
  app.on('state', () => void changes(app));
  void changes(app);
  statusLine();
  live.open();
}

/** @param {any} app @param {any} d a frame of the topic ops */
function ops(app, d) {
  if (d.people) people(app, d.people);
  if (d.kind === 'check' && d.rev === app.draft.rev) app.gotCheck(d.check);
  const theirs = (d.kind === 'edit' && d.client !== app.live.client) || d.kind === 'reload';
  if (!theirs || d.rev <= app.draft.rev) return;
  // Our own PUT is told to us as well, often before its answer is here: look again when it is.
  setTimeout(async () => {
    if (d.rev <= app.draft.rev || app.draft.state !== 'saved') return;
    await app.draft.reload();
    if (d.by && d.by !== app.page.user?.name) app.say(`${d.by} changed this flow.`);
  }, 400);
}

/** @param {any} app @param {any[]} all */
function people(app, all) {
  const others = all.filter((each) => each.client !== app.live.client);
  put(
    at('people'),
    others.slice(0, 4).map((each) => h('span', { title: `${each.user} is here${each.selection?.length ? `, at ${each.selection.join(', ')}` : ''}`, role: 'img', 'aria-label': `${each.user} is here` }, String(each.user).slice(0, 2))),
  );
}

let asked = '';

/** Which nodes differ from what is deployed, for the dots and the count on the button. @param {any} app */
async function changes(app) {
  const { draft, deployed } = app.state;
  const key = `${draft.rev} ${deployed?.entry}`;
  if (key === asked) return;
  asked = key;
  let ids = new Set();
  if (deployed && draft.changed) {
    try {
      const diff = await app.api.get(app.api.flow(app.id, '/diff?from=deployed&to=draft'));
      ids = new Set(diff.changes.map((/** @type {any} */ change) => (change.kind === 'node' ? change.id : `${change.kind} ${change.id}`)));
    } catch {
      return; // The dots are a help; the plan says the same before anything is done.
    }
  }
  const touched = [...app.changedNodes, ...ids];
  app.changedNodes = ids;
  app.cards.touch(touched);
  app.drawDeploy();
}
