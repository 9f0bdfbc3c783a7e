// Nodes and wires: adding, connecting, naming, grouping, disabling, tidying, running by hand.

import * as edits from '../model/edits.js';
import { snap, tidy } from '../model/layout.js';
import { titleOf } from '../model/types.js';
import { plural } from '../ui/dom.js';

const chosen = (/** @type {any} */ app) => app.selection.nodes.size > 0;
const only = (/** @type {any} */ app) => app.selection.only;

/** The node an action is about. @param {any} app @param {any} args @returns {string | null} */
function subject(app, args) {
  return args?.id ?? app.selection.only ?? null;
}

/**
 * @param {any} app
 * @param {{type: string, after?: string | null, output?: string, at?: Point, wire?: string | null, config?: any}} args
 */
export function addNode(app, args) {
  const type = app.types.get(args.type);
  if (!type) return null;
  const wire = args.wire ? app.store.wires.get(args.wire) : null;
  const on = wire && type.has_input && type.kind === 'transform';
  const added = on
    ? edits.insertOnWire(app.store, app.types, type, wire, args.at)
    : edits.addNode(app.store, app.types, type, { ...args, at: args.at });
  app.fresh.add(added.id);
  app.commit(`Add ${type.title ?? type.name}`, added.ops);
  app.history.seal();
  app.selection.set([added.id]);
  app.focusNode(added.id);
  app.speak(`${app.describe(added.id)} added`);
  return added.id;
}

/** @param {any} app @param {any} args */
async function connect(app, args) {
  const { openConnect } = await import('../ui/connect.js');
  const id = subject(app, args);
  if (id) openConnect(app, id, args ?? {});
}

/** @param {any} app @param {string} id */
async function rename(app, id) {
  const { ask } = await import('../ui/ask.js');
  const spec = app.store.nodes.get(id);
  const title = await ask({ title: 'Rename', label: 'Title', value: titleOf(spec, id), ok: 'Rename' });
  if (title === null || title === titleOf(spec, id)) return app.focusNode(id, false);
  const made = edits.retitle(app.store, id, title, app.fresh.has(id));
  if (app.fresh.delete(id)) app.fresh.add(made.id);
  app.commit('Rename', made.ops);
  app.selection.set([made.id]);
  app.focusNode(made.id, false);
}

/** @param {any} app @param {string} id */
async function changeId(app, id) {
  const { ask } = await import('../ui/ask.js');
  const to = await ask({
    title: 'Change id', label: 'Id', value: id, ok: 'Change',
    help: 'Wires and references follow. Logs, metrics and URLs use the new id from the next deploy on.',
    check: (text) => (!/^[a-z][a-z0-9-]*$/.test(text) ? 'Small letters, digits and dashes, a letter first.' : text !== id && app.store.nodes.has(text) ? 'There is a node with this id.' : ''),
  });
  if (to === null || to === id) return;
  app.commit('Change id', [{ op: 'rename', from: id, to }]);
  app.selection.set([to]);
  app.focusNode(to, false);
}

/** @param {any} app @param {any} [args] */
function addNote(app, args) {
  const type = app.types.get('comment');
  if (!type) return;
  const [x, y] = args?.at ?? app.view.middle();
  const { ops, id } = edits.addNode(app.store, app.types, type, { at: [snap(x), snap(y)], config: { text: 'Note' } });
  app.commit('Add note', ops);
  app.selection.set([id]);
  app.focusNode(id);
}

/** @param {any} app @param {number} dx @param {number} dy */
function nudge(app, dx, dy) {
  app.commit('Move', edits.moveBy(app.store, app.types, app.selection.nodes, dx, dy), 'nudge');
  const box = app.scene.boxes.get(app.selection.focus);
  if (box) app.view.reveal(box);
}

/** @type {[string, number, number][]} */
const ARROWS = [['Left', -10, 0], ['Right', 10, 0], ['Up', 0, -10], ['Down', 0, 10]];

/** @type {Action[]} */
export default [
  { id: 'quick-add', title: 'Add a node…', group: 'Nodes', icon: 'plus', keys: ['/', 'Insert'], run: async (app, args) => (await import('../ui/quickadd.js')).openQuickAdd(app, args ?? {}) },
  { id: 'add-node', title: 'Add this node', group: 'Nodes', quiet: true, run: addNode },
  { id: 'insert-on-wire', title: 'Insert a node on this wire…', group: 'Nodes', icon: 'plus', when: (app) => app.selection.wire || app.wires.hover, run: (app, args) => app.run('quick-add', { wire: args?.wire ?? app.selection.wire }) },
  { id: 'connect', title: 'Connect to…', group: 'Nodes', icon: 'link', keys: ['C'], when: (app) => chosen(app) || app.selection.focus, run: connect },
  {
    id: 'disconnect', title: 'Take out of the chain', group: 'Nodes', when: (app) => only(app) && (app.store.into(only(app)).length || app.store.out(only(app)).length),
    run: (app) => app.commit('Take out of the chain', edits.detach(app.store, app.types, app.selection.only)),
  },
  {
    id: 'open-settings', title: 'Settings', group: 'Nodes', icon: 'settings', keys: ['Enter'], reads: true, when: (app) => !app.moveMode,
    run: (app, args) => {
      if (args?.id) app.selection.set([args.id]);
      else if (!app.selection.nodes.size && app.selection.focus) app.selection.set([app.selection.focus]);
      app.tell('panel', { right: 'settings', focus: true });
    },
  },
  { id: 'rename', title: 'Rename…', group: 'Nodes', icon: 'pencil', keys: ['F2'], when: (app) => only(app) || app.selection.group, run: async (app, args) => {
    const group = app.selection.group;
    if (!group) return rename(app, subject(app, args) ?? '');
    const { ask } = await import('../ui/ask.js');
    const title = await ask({ title: 'Rename group', label: 'Title', value: app.store.groups[group].title, ok: 'Rename' });
    if (title) app.commit('Rename group', [{ op: 'put', path: ['x-groups', group, 'title'], value: title }]);
  } },
  { id: 'change-id', title: 'Change id…', group: 'Nodes', when: only, run: (app, args) => changeId(app, subject(app, args) ?? '') },
  {
    id: 'disable', group: 'Nodes', icon: 'power', keys: ['D'], when: chosen,
    title: (app) => ([...app.selection.nodes].every((id) => app.store.nodes.get(id)?.disabled) ? 'Enable' : 'Disable'),
    run: (app) => {
      const ids = [...app.selection.nodes];
      const off = !ids.every((id) => app.store.nodes.get(id)?.disabled);
      app.commit(off ? 'Disable' : 'Enable', edits.setDisabled(app.store, ids, off));
    },
  },
  { id: 'group', title: 'Group', group: 'Nodes', icon: 'group', keys: ['Ctrl+G'], when: chosen, run: (app) => {
    const { ops, id } = edits.group(app.store, app.selection.nodes);
    app.commit('Group', ops);
    app.selection.set(app.selection.nodes, [], id);
  } },
  { id: 'ungroup', title: 'Ungroup', group: 'Nodes', keys: ['Ctrl+Shift+G'], when: (app) => chosen(app) && edits.ungroup(app.store, app.selection.nodes).length, run: (app) => app.commit('Ungroup', edits.ungroup(app.store, app.selection.nodes)) },
  { id: 'note', title: 'Add a note', group: 'Nodes', icon: 'comment', keys: ['N'], when: (app) => app.types.has('comment'), run: addNote },
  {
    id: 'tidy', group: 'Nodes', icon: 'tidy', keys: ['Ctrl+Shift+L'], title: (app) => (app.selection.nodes.size > 1 ? 'Tidy up the selection' : 'Tidy up'),
    run: (app) => {
      const some = app.selection.nodes.size > 1 ? app.selection.nodes : undefined;
      app.commit('Tidy up', [{ op: 'move', at: tidy(app.store, app.types, some) }]);
      if (!some) app.run('fit');
    },
  },
  {
    id: 'run-now', title: 'Run now', group: 'Nodes', icon: 'play', keys: ['R'], reads: true,
    when: (app) => app.can('deploy') && app.now.running && (!only(app) || !app.scene.boxes.get(only(app))?.input),
    run: async (app, args) => {
      const id = subject(app, args);
      if (!id) return;
      await app.api.post(app.api.flow(app.id, `/nodes/${encodeURIComponent(id)}/inject`), {});
      app.speak(`${app.describe(id)}: run`);
    },
  },
  {
    id: 'inject', title: 'Send a message into this node…', group: 'Nodes', icon: 'download', reads: true,
    when: (app) => only(app) && app.can('deploy') && app.now.running, run: (app) => app.tell('panel', { right: 'data', focus: true }),
  },
  {
    id: 'move-mode', title: 'Move with the arrow keys', group: 'Nodes', keys: ['M'], when: (app) => chosen(app) && !app.locked,
    run: (app) => {
      app.moveMode = !app.moveMode;
      app.history.seal();
      app.say(app.moveMode ? `Arrow keys move ${plural(app.selection.nodes.size, 'node')}; M or Escape ends it.` : 'Moved.');
    },
  },
  ...ARROWS.map(([name, dx, dy]) => /** @type {Action} */ ({
    id: `move-${name.toLowerCase()}`, title: `Move ${name.toLowerCase()}`, group: 'Nodes', quiet: true, keys: [`Alt+Arrow${name}`], when: (app) => chosen(app) && !app.locked, run: (app) => nudge(app, dx, dy),
  })),
];

export { nudge };
