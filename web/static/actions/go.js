// Going about: arrow keys, along wires, panels, zoom, theme, and the lists of commands and keys.

import { alongWire, nearest } from '../model/near.js';
import { remember, remembered } from '../ui/memory.js';
import { nudge } from './nodes.js';

/** @typedef {'left' | 'right' | 'up' | 'down'} Direction */

const STEP = { left: [-10, 0], right: [10, 0], up: [0, -10], down: [0, 10] };
/** The fork last passed, so that the same key again takes the next way. */
let fork = { id: '', to: '', forward: true };

/** @param {any} app @param {string | null} id @param {boolean} [more] */
function goTo(app, id, more = false) {
  if (!id) return;
  if (more) app.selection.set([...app.selection.nodes, id]);
  else app.selection.set([id]);
  app.focusNode(id);
}

/** @param {any} app @param {Direction} direction @param {boolean} more */
function arrow(app, direction, more) {
  const [dx, dy] = STEP[direction];
  if (app.moveMode) return nudge(app, more ? dx * 5 : dx, more ? dy * 5 : dy);
  goTo(app, nearest(app.scene, app.selection.focus, direction), more);
}

/** @param {any} app @param {boolean} forward */
function follow(app, forward) {
  const { focus } = app.selection;
  const back = fork.to === focus && fork.forward === forward && fork.id;
  const siblings = back ? alongWire(app.scene, fork.id, forward, focus) : null;
  const next = alongWire(app.scene, focus, forward);
  if (!next && siblings && siblings !== focus) {
    fork = { ...fork, to: siblings };
    return goTo(app, siblings);
  }
  if (!next) return app.speak(forward ? 'Nothing follows.' : 'Nothing leads here.');
  fork = { id: focus ?? '', to: next, forward };
  goTo(app, next);
}

/** @param {string} name @param {string} value */
function setRoot(name, value) {
  if (value) document.documentElement.setAttribute(`data-${name}`, value);
  else document.documentElement.removeAttribute(`data-${name}`);
  remember(name, value);
}

/** @param {string} title @param {string} id @param {any} panel @param {Partial<Action>} [more] @returns {Action} */
function panel(title, id, panel, more = {}) {
  return { id, title, group: 'View', reads: true, run: (app) => app.tell('panel', { ...panel, focus: true }), ...more };
}

/** @type {Direction[]} */
const DIRECTIONS = ['left', 'right', 'up', 'down'];

/** @type {Action[]} */
export default [
  ...DIRECTIONS.flatMap((direction) => {
    const name = `Arrow${direction[0].toUpperCase()}${direction.slice(1)}`;
    return /** @type {Action[]} */ ([
      { id: `go-${direction}`, title: `Go ${direction}`, group: 'Go', quiet: true, reads: true, keys: [name], run: (app) => arrow(app, direction, false) },
      { id: `select-${direction}`, title: `Select ${direction}`, group: 'Go', quiet: true, reads: true, keys: [`Shift+${name}`], run: (app) => arrow(app, direction, true) },
    ]);
  }),
  { id: 'go-after', title: 'Follow the wire', group: 'Go', reads: true, keys: [']'], run: (app) => follow(app, true) },
  { id: 'go-before', title: 'Back along the wire', group: 'Go', reads: true, keys: ['['], run: (app) => follow(app, false) },
  { id: 'go-wires', title: 'Select the wires of this node', group: 'Go', reads: true, keys: ['W'], when: (app) => app.selection.focus, run: (app) => {
    const wires = [...app.store.out(app.selection.focus), ...app.store.into(app.selection.focus)].map((/** @type {Wire} */ wire) => wire.id);
    const at = wires.indexOf(app.selection.wire ?? '');
    if (wires.length) app.selection.set([], [wires[(at + 1) % wires.length]]);
  } },
  { id: 'palette', title: 'Search or run a command', group: 'Go', icon: 'search', keys: ['Ctrl+K'], quiet: true, reads: true, run: async (app) => (await import('../ui/palette.js')).openPalette(app) },
  { id: 'context-menu', title: 'Menu of the selection', group: 'Go', keys: ['Shift+F10', 'ContextMenu'], quiet: true, reads: true, run: async (app, args) => (await import('../ui/menu.js')).openContext(app, args) },
  { id: 'menu', title: 'Main menu', group: 'Go', quiet: true, reads: true, run: async (app) => (await import('../ui/menu.js')).openMain(app) },
  { id: 'keys', title: 'All keys', group: 'Help', icon: 'keyboard', keys: ['?'], reads: true, run: async (app) => (await import('../ui/keysheet.js')).openKeys(app) },
  { id: 'pin', title: 'Pin a number…', group: 'View', icon: 'pin', keys: ['Shift+P'], reads: true, when: (app) => app.wires.hover || app.selection.wire || app.selection.only || app.selection.focus, run: async (app) => (await import('../ui/pins.js')).askPin(app) },
  { id: 'open-pin', title: 'Open a pinned chart…', group: 'View', icon: 'series', reads: true, run: async (app) => (await import('../ui/pins.js')).askChart(app) },
  { id: 'charts', title: 'Charts of stored series', group: 'View', icon: 'series', reads: true, run: () => void window.open('/charts', '_blank', 'noopener') },
  { id: 'people', title: (app) => (app.can('admin') ? 'People and access' : 'Your account'), group: 'View', icon: 'user', reads: true, run: () => void window.open('/people', '_blank', 'noopener') },
  { id: 'help', title: 'Help', group: 'Help', icon: 'help', reads: true, run: () => void window.open('/help', '_blank', 'noopener') },
  panel('Add nodes', 'show-add', { left: 'add' }),
  panel('Outline', 'show-outline', { left: 'outline' }, { icon: 'outline', keys: ['O'] }),
  panel('Flows', 'show-flows', { left: 'flows' }, { icon: 'flows' }),
  panel('Problems', 'show-problems', { drawer: 'problems' }, { icon: 'problems', keys: ['P'] }),
  panel('Debug panel', 'show-debug', { drawer: 'debug' }, { icon: 'cat-debug' }),
  panel('History', 'show-history', { drawer: 'history' }, { icon: 'history' }),
  panel('Log', 'show-log', { drawer: 'log' }, { icon: 'log' }),
  panel('Data of the selection', 'show-data', { right: 'data' }, { icon: 'data' }),
  panel('Tests of the flow', 'show-tests', { right: 'tests' }, { icon: 'tests' }),
  panel('Docs of the selection', 'show-docs', { right: 'docs' }, { icon: 'book' }),
  { id: 'toggle-left', title: 'Left panel', group: 'View', icon: 'panel-left', keys: ['Ctrl+B'], reads: true, run: (app) => app.tell('panel', { toggle: 'left' }) },
  { id: 'toggle-right', title: 'Inspector', group: 'View', icon: 'panel-right', keys: ['Ctrl+Alt+B'], reads: true, run: (app) => app.tell('panel', { toggle: 'right' }) },
  { id: 'toggle-drawer', title: 'Bottom panel', group: 'View', icon: 'drawer', keys: ['Ctrl+J'], reads: true, run: (app) => app.tell('panel', { toggle: 'drawer' }) },
  { id: 'toggle-canvas', title: 'Canvas or outline', group: 'View', icon: 'eye', reads: true, when: () => innerWidth < 700, run: (app) => app.tell('panel', { toggle: 'canvas' }) },
  { id: 'fit', title: 'Show all', group: 'View', icon: 'fit', keys: ['1'], reads: true, run: (app) => app.view.fit(app.scene.bounds()) },
  { id: 'fit-selection', title: 'Show the selection', group: 'View', keys: ['2'], reads: true, when: (app) => app.selection.nodes.size, run: async (app) => {
    const { around } = await import('../model/size.js');
    app.view.fit(around([...app.selection.nodes].map((id) => app.scene.boxes.get(id))));
  } },
  { id: 'zoom-in', title: 'Zoom in', group: 'View', keys: ['+', '=', 'Shift++'], reads: true, run: (app) => app.view.zoomTo(app.view.zoom * 1.2) },
  { id: 'zoom-out', title: 'Zoom out', group: 'View', keys: ['-'], reads: true, run: (app) => app.view.zoomTo(app.view.zoom / 1.2) },
  { id: 'zoom-reset', title: 'Actual size', group: 'View', keys: ['0'], reads: true, run: (app) => app.view.zoomTo(1) },
  { id: 'lock', title: (app) => (app.locked ? 'Unlock the canvas' : 'Lock the canvas'), group: 'View', icon: 'lock', keys: ['L'], reads: true, run: (app) => {
    app.locked = !app.locked;
    app.tell('locked');
  } },
  { id: 'theme-dark', title: 'Dark theme', group: 'View', icon: 'theme', reads: true, run: () => setRoot('theme', 'dark') },
  { id: 'theme-light', title: 'Light theme', group: 'View', icon: 'theme', reads: true, run: () => setRoot('theme', 'light') },
  { id: 'theme-system', title: 'Theme of the system', group: 'View', icon: 'theme', reads: true, run: () => setRoot('theme', '') },
  { id: 'density', title: 'Roomy or compact rows', group: 'View', reads: true, run: () => setRoot('density', remembered('density') ? '' : 'roomy') },
];
