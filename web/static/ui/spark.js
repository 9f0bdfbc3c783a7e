// A line of recent numbers, as small as a word.

import { colours } from '../canvas/colours.js';

/** @param {HTMLCanvasElement} canvas @param {number[]} values oldest first @param {boolean} [zero] whether 0 is the floor, as of a rate */
export function spark(canvas, values, zero = true) {
  const [width, height] = [canvas.clientWidth || 240, canvas.clientHeight || 32];
  const sharp = Math.min(2, devicePixelRatio || 1);
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const c = canvas.getContext('2d');
  if (!c || values.length < 2) return;
  c.setTransform(sharp, 0, 0, sharp, 0, 0);
  const [least, most] = [Math.min(zero ? 0 : Infinity, ...values), Math.max(...values)];
  const span = most - least || 1;
  const x = (/** @type {number} */ at) => 1 + (at / (values.length - 1)) * (width - 4);
  const floor = most > least || zero ? least : least - 0.5; // a flat line lies in the middle
  const y = (/** @type {number} */ value) => height - 3 - ((value - floor) / span) * (height - 6);
  const { accent } = colours();
  c.beginPath();
  values.forEach((value, at) => (at ? c.lineTo(x(at), y(value)) : c.moveTo(x(at), y(value))));
  c.strokeStyle = accent;
  c.lineWidth = 1.5;
  c.lineJoin = 'round';
  c.stroke();
  c.lineTo(x(values.length - 1), height);
  c.lineTo(x(0), height);
  c.globalAlpha = 0.1;
  c.fillStyle = accent;
  c.fill();
  c.globalAlpha = 1;
  c.beginPath();
  c.arc(x(values.length - 1), y(values[values.length - 1]), 2, 0, 7);
  c.fill();
}
