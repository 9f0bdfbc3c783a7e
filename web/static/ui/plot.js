// Lines over time on a canvas: axes with round figures, bands where points were thinned out.

import { colours } from '../canvas/colours.js';

/** Points are `[ms, value]`, or `[ms, mean, least, most]` of a bucket of `every` ms; `value` is the newest. @typedef {{points: number[][], every?: number | null, value?: any}} Line */

const COLOURS = ['accent', 'output', 'storage', 'function', 'logic', 'source', 'flow', 'debug'];
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const [LEFT, RIGHT, TOP, FOOT] = [52, 12, 8, 22];
const SECOND = 1000;
const DAY = 86_400 * SECOND;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 432_000].map((each) => each * SECOND);

/** A number in as few digits as say it. @param {any} value */
export function figure(value) {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value !== 'number') return value === null || value === undefined ? '–' : String(value).slice(0, 40);
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-3)) return value.toExponential(2);
  return size >= 1000 ? String(Math.round(value * 10) / 10) : String(Number(value.toPrecision(4)));
}

/** The colour and the dashes of a line: never colour alone. @param {number} at */
export function look(at) {
  return { colour: colours()[COLOURS[at % COLOURS.length]], dash: DASHES[at % DASHES.length] };
}

/** Least, mean and most of a line. @param {number[][]} points */
export function range(points) {
  if (!points.length) return null;
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (const point of points) {
    least = Math.min(least, point[2] ?? point[1]);
    most = Math.max(most, point[3] ?? point[1]);
    sum += point[1];
  }
  return { least, most, mean: sum / points.length };
}

/** The point nearest to a moment. @param {number[][]} points @param {number} at ms */
export function nearest(points, at) {
  let best = points[0];
  for (const point of points) if (Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best;
}

/** Round figures inside of a range, about `count` of them. @param {number} least @param {number} most @param {number} count */
export function ticks(least, most, count) {
  const rough = (most - least) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((each) => each * power >= rough) ?? 10) * power;
  const found = [];
  for (let at = Math.ceil(least / step); at * step <= most + step * 1e-9; at++) found.push(Number((at * step).toPrecision(12)));
  return found;
}

/** Round times between two, in the time of this place. @param {number} from @param {number} to @param {number} count */
export function times(from, to, count) {
  const step = STEPS.find((each) => (to - from) / each <= count) ?? 10 * DAY;
  const found = [];
  const shift = new Date(to).getTimezoneOffset() * 60 * SECOND;
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) found.push(at);
  return { step, found };
}

const two = (/** @type {number} */ each) => String(each).padStart(2, '0');

/** The time of day here, and with `far` its day. @param {number} at ms @param {boolean} [far] */
export function clockWord(at, far = false) {
  const date = new Date(at);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return far ? `${date.toLocaleDateString(undefined, { day: 'numeric', month: 'short' })} ${clock}` : `${clock}:${two(date.getSeconds())}`;
}

/** @param {number} at @param {number} step */
export function timeWord(at, step) {
  const date = new Date(at);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step >= DAY || (step >= 6 * 3600 * SECOND && clock === '00:00')) return date.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
  return step < 60 * SECOND ? `${clock}:${two(date.getSeconds())}` : clock;
}

/** The moment below a place of the canvas. @param {HTMLCanvasElement} canvas @param {number} x @param {{from: number, to: number}} span */
export function momentAt(canvas, x, { from, to }) {
  const share = (x - LEFT) / (canvas.clientWidth - LEFT - RIGHT);
  return from + Math.min(1, Math.max(0, share)) * (to - from);
}

/** @param {HTMLCanvasElement} canvas @param {{lines: Line[], from: number, to: number, at?: number | null}} what */
export function plot(canvas, { lines, from, to, at = null }) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const c = canvas.getContext('2d');
  if (!c || !width || !height) return;
  const sharp = Math.min(2, devicePixelRatio || 1);
  const [wide, high] = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  c.setTransform(sharp, 0, 0, sharp, 0, 0);
  c.clearRect(0, 0, width, height);
  const tint = colours();
  let [least, most] = [Infinity, -Infinity];
  for (const line of lines) {
    const found = range(line.points);
    if (found) [least, most] = [Math.min(least, found.least), Math.max(most, found.most)];
  }
  if (least > most) [least, most] = [0, 1];
  // A flat line lies in the middle, with figures around it.
  const room = (most - least) * 0.06 || Math.abs(most) * 0.05 || 1;
  [least, most] = [least - room, most + room];
  const x = (/** @type {number} */ moment) => LEFT + ((moment - from) / (to - from)) * (width - LEFT - RIGHT);
  const y = (/** @type {number} */ value) => TOP + (1 - (value - least) / (most - least)) * (height - TOP - FOOT);

  c.font = `11px ${tint.mono}`;
  c.lineWidth = 1;
  c.textBaseline = 'middle';
  c.textAlign = 'right';
  const switches = lines.length > 0 && lines.every((line) => typeof line.value === 'boolean');
  for (const value of switches ? [0, 1] : ticks(least, most, Math.max(2, Math.floor((height - TOP - FOOT) / 36)))) {
    const level = Math.round(y(value)) + 0.5;
    c.strokeStyle = tint.hair;
    c.beginPath();
    c.moveTo(LEFT, level);
    c.lineTo(width - RIGHT, level);
    c.stroke();
    c.fillStyle = tint.muted;
    c.fillText(switches ? figure(value > 0) : figure(value), LEFT - 6, level);
  }
  c.textAlign = 'center';
  const { step, found } = times(from, to, Math.max(2, Math.floor(width / 84)));
  for (const moment of found) {
    const place = Math.round(x(moment)) + 0.5;
    c.strokeStyle = tint.edge;
    c.beginPath();
    c.moveTo(place, height - FOOT);
    c.lineTo(place, height - FOOT + 4);
    c.stroke();
    if (place > LEFT + 12 && place < width - 20) c.fillText(timeWord(moment, step), place, height - 8);
  }
  c.save();
  c.beginPath();
  c.rect(LEFT, 0, width - LEFT - RIGHT + 4, height - FOOT + 1);
  c.clip();
  lines.forEach((line, index) => drawLine(c, line, look(index), x, y));
  if (at !== null) {
    c.strokeStyle = tint.line;
    c.beginPath();
    c.moveTo(Math.round(x(at)) + 0.5, TOP);
    c.lineTo(Math.round(x(at)) + 0.5, height - FOOT);
    c.stroke();
  }
  c.restore();
}

/** @param {CanvasRenderingContext2D} c @param {Line} line @param {{colour: string, dash: number[]}} look @param {(ms: number) => number} x @param {(value: number) => number} y */
function drawLine(c, { points, every, value: newest }, { colour, dash }, x, y) {
  if (!points.length) return;
  const steps = typeof newest === 'boolean';
  const gap = every ? every * 3 : silence(points);
  c.strokeStyle = c.fillStyle = colour;
  /** Stretches without a pause in them. @type {number[][][]} */
  const parts = [];
  let before = -Infinity;
  for (const point of points) {
    if (point[0] - before > gap) parts.push([]);
    parts[parts.length - 1].push(point);
    before = point[0];
  }
  c.globalAlpha = 0.16;
  for (const part of every ? parts : []) {
    c.beginPath();
    part.forEach((point, at) => c[at ? 'lineTo' : 'moveTo'](x(point[0]), y(point[3])));
    for (const point of part.reverse()) c.lineTo(x(point[0]), y(point[2]));
    part.reverse();
    c.fill();
  }
  c.globalAlpha = 1;
  c.setLineDash(dash);
  c.lineWidth = 1.6;
  c.lineJoin = 'round';
  c.beginPath();
  for (const part of parts) {
    part.forEach(([moment, value], at) => {
      if (steps && at && !every) c.lineTo(x(moment), y(part[at - 1][1]));
      c[at ? 'lineTo' : 'moveTo'](x(moment), y(value));
    });
  }
  c.stroke();
  c.setLineDash([]);
  const [moment, value] = points[points.length - 1];
  c.beginPath();
  c.arc(x(moment), y(value), 2.5, 0, 7);
  c.fill();
}

/** How long a pause breaks the line: ten times what is usual between two points. @param {number[][]} points */
function silence(points) {
  if (points.length < 3) return Infinity;
  const steps = points.slice(1).map((point, at) => point[0] - points[at][0]).sort((a, b) => a - b);
  return Math.max(SECOND, steps[steps.length >> 1] * 10);
}
