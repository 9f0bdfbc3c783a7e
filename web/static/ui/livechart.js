// The chart of a pinned number: live, with its time, its least and most, and a pause to look closely.

import { onTheme } from '../canvas/colours.js';
import { h, icon, iconButton, put } from './dom.js';
import { clockWord, figure, momentAt, nearest, plot, range } from './plot.js';

const SPANS = [30, 60, 300]; // seconds
const EVERY = 200; // ms between two drawings

/** @param {import('./pins.js').Pins} pins @param {import('./pins.js').Pin} pin */
export function openChart(pins, pin) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  let span = 60;
  /** What stands still while it pauses. @type {{points: number[][], to: number} | null} */
  let held = null;
  /** @type {number | null} */
  let pointer = null;
  const canvas = h('canvas', { role: 'img', 'aria-label': `Live chart of ${pin.path}` });
  const big = h('p', { class: 'big num' });
  const words = h('p', { class: 'muted num' });
  const spans = SPANS.map((each) => h('button', { type: 'button', class: 'plain', 'aria-pressed': 'false', on: { click: () => ((span = each), draw()) } }, each < 60 ? `${each} s` : `${each / 60} min`));
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', on: { click: () => {
    held = held ? null : { points: [...pin.points], to: Date.now() };
    draw();
  } } });
  const unit = h('input', { value: pin.unit, placeholder: pin.heard || 'unit', 'aria-label': 'Unit', maxLength: 12, spellcheck: false, on: { change: () => {
    pin.unit = unit.value.trim();
    pins.keep();
    pins.show(pin);
    draw();
  } } });
  const dialog = h(
    'dialog',
    { class: 'live-chart', 'aria-label': `Chart of ${pin.path}` },
    h('header', {}, h('h2', {}, pin.path, h('span', { class: 'muted' }, ` of ${pin.output}`)), iconButton('close', 'Close', () => dialog.close(), { class: 'plain tiny' })),
    h('div', { class: 'body' }, h('div', { class: 'figures' }, big, words), canvas),
    h('footer', {}, h('div', { class: 'segments', role: 'group', 'aria-label': 'Time shown' }, spans), unit, h('span', { class: 'spacer' }), h('button', { type: 'button', on: { click: () => (dialog.close(), pins.remove(pin.key)) } }, 'Unpin'), pause),
  );
  const draw = () => {
    const to = held?.to ?? Date.now();
    const from = to - span * 1000;
    const points = (held?.points ?? pin.points).filter((point) => point[0] >= from);
    plot(canvas, { lines: [{ points }], from, to, at: pointer });
    const found = range(points);
    const shown = pointer !== null && points.length ? nearest(points, pointer) : (points.at(-1) ?? pin.points.at(-1));
    big.textContent = shown ? `${figure(shown[1])} ${pins.unit(pin)}`.trim() : '–';
    words.textContent = found ? `${pointer !== null && shown ? `at ${clockWord(shown[0])} · ` : ''}least ${figure(found.least)} · mean ${figure(found.mean)} · most ${figure(found.most)}` : pins.app.now.running ? 'No number in this time' : 'The flow is not running';
    put(pause, icon(held ? 'play' : 'pause'), held ? 'Continue' : 'Pause');
    pause.setAttribute('aria-pressed', String(Boolean(held)));
    spans.forEach((button, index) => button.setAttribute('aria-pressed', String(SPANS[index] === span)));
  };
  canvas.addEventListener('pointermove', (event) => {
    const to = held?.to ?? Date.now();
    pointer = momentAt(canvas, event.offsetX, { from: to - span * 1000, to });
    draw();
  });
  canvas.addEventListener('pointerleave', () => ((pointer = null), draw()));
  const timer = setInterval(() => !held && !document.hidden && draw(), EVERY);
  const stop = onTheme(draw);
  dialog.addEventListener('close', () => {
    clearInterval(timer);
    stop();
    dialog.remove();
    before?.focus?.({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  pause.focus();
  draw();
}
