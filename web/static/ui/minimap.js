// The minimap: the whole flow in a corner, shown only when more than the window holds.

import { colours, onTheme } from '../canvas/colours.js';
import { around } from '../model/size.js';
import { at } from './dom.js';

const CALM = 60; // milliseconds: a map need not follow every frame

/** @param {any} app */
export function minimap(app) {
  const { view, scene } = app;
  const frame = at('minimap');
  const canvas = /** @type {HTMLCanvasElement} */ (frame.querySelector('canvas'));
  const sharp = Math.min(2, devicePixelRatio || 1);
  const [width, height] = [canvas.width, canvas.height];
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  // The blocks are drawn once per change; while the camera moves only the window's outline is new.
  const blocks = document.createElement('canvas');
  blocks.width = canvas.width;
  blocks.height = canvas.height;
  let stale = true;
  let [scale, left, top] = [1, 0, 0];
  let asked = 0;
  let fitted = '';

  const fit = (/** @type {Box} */ box) => {
    scale = Math.min((width - 12) / box.w, (height - 12) / box.h, 0.2);
    left = box.x - (width / scale - box.w) / 2;
    top = box.y - (height / scale - box.h) / 2;
  };
  const drawBlocks = () => {
    const c = /** @type {CanvasRenderingContext2D} */ (blocks.getContext('2d'));
    const tint = colours();
    c.setTransform(sharp, 0, 0, sharp, 0, 0);
    c.clearRect(0, 0, width, height);
    /** @type {Map<string, Path2D>} */
    const paths = new Map();
    for (const [id, box] of scene.boxes) {
      const category = app.types.get(app.store.nodes.get(id)?.type)?.category ?? 'debug';
      let path = paths.get(category);
      if (!path) paths.set(category, (path = new Path2D()));
      path.rect((box.x - left) * scale, (box.y - top) * scale, Math.max(1.5, box.w * scale), Math.max(1, box.h * scale));
    }
    for (const [category, path] of paths) {
      c.fillStyle = tint[category] ?? tint.debug;
      c.globalAlpha = 0.7;
      c.fill(path);
    }
    c.globalAlpha = 1;
    stale = false;
  };
  const draw = () => {
    asked = 0;
    const box = scene.bounds();
    const seen = view.seen();
    const outside = box && (box.x < seen.x - 1 || box.y < seen.y - 1 || box.x + box.w > seen.x + seen.w + 1 || box.y + box.h > seen.y + seen.h + 1);
    frame.hidden = !outside || innerWidth < 700;
    if (frame.hidden || !box) return;
    // Where the window looks past the flow's edge, both are in the picture.
    const all = /** @type {Box} */ (around([box, seen]));
    const key = [all.x, all.y, all.w, all.h].map(Math.round).join();
    if (stale || key !== fitted) {
      fitted = key;
      fit(all);
      drawBlocks();
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(blocks, 0, 0);
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    context.strokeStyle = colours().accent;
    context.lineWidth = 1.5;
    context.strokeRect((seen.x - left) * scale, (seen.y - top) * scale, seen.w * scale, seen.h * scale);
  };
  const soon = () => {
    asked ||= window.setTimeout(draw, CALM);
  };
  const go = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / scale + left, (event.clientY - box.top) / scale + top];
    const [mx, my] = view.middle();
    view.pan((x - mx) * view.zoom, (y - my) * view.zoom);
  };
  frame.addEventListener('pointerdown', (event) => {
    frame.setPointerCapture(event.pointerId);
    go(event);
  });
  frame.addEventListener('pointermove', (event) => event.buttons && go(event));
  view.movers.add(soon);
  app.on('changed', () => {
    stale = true;
    soon();
  });
  onTheme(() => {
    stale = true;
    soon();
  });
  soon();
}
