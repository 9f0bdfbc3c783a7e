// What the first sight does without, in one go after it: pointers, commands, live data, the journal,
// and the panels that stand open in most windows.

import edit from './actions/edit.js';
import flow from './actions/flow.js';
import go from './actions/go.js';
import { register } from './actions/index.js';
import nodes from './actions/nodes.js';
import { Input } from './canvas/input.js';
import { Draft } from './net/draft.js';
import { Live } from './net/live.js';
import './ui/add.js';
import { at } from './ui/dom.js';
import { keepJournal } from './ui/journal.js';
import './ui/settings.js';
import { watch } from './ui/watch.js';

/** @param {any} app @param {import('./ui/shell.js').Shell} shell */
export async function rest(app, shell) {
  for (const family of [edit, nodes, go, flow]) register(family);
  app.input = new Input(app, at('canvas'), at('marquee'));
  app.live = new Live(app.page.base);
  app.draft = new Draft(app);
  shell.show();
  performance.mark('interactive');
  watch(app);
  await keepJournal(app);
  performance.mark('ready');
  document.documentElement.dataset.ready = 'true';
  shell.began();
}
