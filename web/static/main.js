// Wiring alone: the page's data, the canvas, the panels, and then what can wait.

import { App } from './app.js';
import { onTheme } from './canvas/colours.js';
import { Cards } from './canvas/nodes.js';
import { View } from './canvas/view.js';
import { Wires } from './canvas/wires.js';
import { at, readIcons, setStatic } from './ui/dom.js';
import { applyTaste } from './ui/memory.js';
import { Shell } from './ui/shell.js';

const page = JSON.parse(at('page').textContent ?? '{}');
setStatic(page.static);
applyTaste();

const app = new App(page);

/** The canvas with the flow on it: everything of the first sight. */
async function begin() {
  const [{ types }] = await Promise.all([app.api.get('/node-types?short=1'), readIcons()]);
  for (const type of types) app.types.set(type.name, type);
  app.scene.rebuild();
  const canvas = at('canvas');
  const view = (app.view = new View(canvas));
  const cards = (app.cards = new Cards(app, at('world')));
  const wires = (app.wires = new Wires(app, /** @type {HTMLCanvasElement} */ (at('wires'))));
  view.drawers.add((time, whole) => {
    cards.draw();
    wires.draw(time, whole);
  });
  onTheme(() => view.touch());
  if ([...app.store.nodes.keys()].some((id) => !app.store.at.has(id))) {
    const { placeMissing } = await import('./model/layout.js');
    app.store.apply([{ op: 'move', at: placeMissing(app.store, app.types) }]);
  }
  view.open(app.scene.bounds());
  const shell = new Shell(app);
  app.drawDeploy();
  app.drawProblems();
  app.drawHistory();
  app.drawCounts();
  await new Promise((drawn) => requestAnimationFrame(drawn));
  document.getElementById('first')?.remove();
  at('app').removeAttribute('data-loading');
  performance.mark('drawn');
  return shell;
}

begin()
  .then(async (shell) => (await import('./rest.js')).rest(app, shell))
  .catch((error) => app.problem(error));

// For tests and for the curious at the console; the editor itself never reads it.
Object.assign(window, { flowengine: app });
