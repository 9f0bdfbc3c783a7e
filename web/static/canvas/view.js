// The camera: where on the flow the window looks, and one drawing per frame however much happened.

const LEAST = 0.08;
const MOST = 2;
export const FAR = 0.45; // below this zoom nodes are coloured blocks
const ROOM = 48; // kept free around the flow when all of it is shown
const READABLE = 0.7; // from this zoom there are figures on the wires
const MAP = 0.3; // a flow that needs less than this to be seen whole is opened as a map
const EDGE = 24;

export class View {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.x = 0; // world coordinates at the window's top-left corner
    this.y = 0;
    this.zoom = 1;
    this.width = element.clientWidth;
    this.height = element.clientHeight;
    /** Told what to draw: everything, or only what flows. @type {Set<(time: number, whole: boolean) => void>} */
    this.drawers = new Set();
    this.whole = true;
    /** @type {Set<() => void>} */
    this.movers = new Set();
    this.asked = 0;
    this.frames = 0;
    new ResizeObserver(() => {
      const [width, height] = [element.clientWidth, element.clientHeight];
      if (width === this.width && height === this.height) return;
      this.width = width;
      this.height = height;
      this.moved();
    }).observe(element);
  }

  get far() {
    return this.zoom < FAR;
  }

  /** Draw at the next frame. */
  touch() {
    this.whole = true;
    this.flow();
  }

  /** Draw at the next frame what flows: figures and pulses, on lines that stay as they are. */
  flow() {
    this.asked ||= requestAnimationFrame((time) => {
      const whole = this.whole;
      this.asked = 0;
      this.whole = false;
      this.frames++;
      for (const draw of this.drawers) draw(time, whole);
    });
  }

  moved() {
    for (const mover of this.movers) mover();
    this.touch();
  }

  /** The part of the world that is seen. @param {number} [room] more, in pixels @returns {Box} */
  seen(room = 0) {
    return {
      x: this.x - room / this.zoom,
      y: this.y - room / this.zoom,
      w: (this.width + 2 * room) / this.zoom,
      h: (this.height + 2 * room) / this.zoom,
    };
  }

  /** From a place in the window to the world. @param {number} clientX @param {number} clientY @returns {Point} */
  toWorld(clientX, clientY) {
    const frame = this.element.getBoundingClientRect();
    return [this.x + (clientX - frame.left) / this.zoom, this.y + (clientY - frame.top) / this.zoom];
  }

  /** From the world to a place in the element. @param {number} x @param {number} y @returns {Point} */
  toScreen(x, y) {
    return [(x - this.x) * this.zoom, (y - this.y) * this.zoom];
  }

  /** The world's place in the middle of the window. @returns {Point} */
  middle() {
    return [this.x + this.width / 2 / this.zoom, this.y + this.height / 2 / this.zoom];
  }

  /** @param {number} dx pixels @param {number} dy */
  pan(dx, dy) {
    this.x += dx / this.zoom;
    this.y += dy / this.zoom;
    this.moved();
  }

  /** Zoom around a place of the window. @param {number} zoom @param {number} [clientX] @param {number} [clientY] */
  zoomTo(zoom, clientX, clientY) {
    const frame = this.element.getBoundingClientRect();
    const [px, py] = [(clientX ?? frame.left + this.width / 2) - frame.left, (clientY ?? frame.top + this.height / 2) - frame.top];
    const next = Math.min(MOST, Math.max(LEAST, zoom));
    this.x += px / this.zoom - px / next;
    this.y += py / this.zoom - py / next;
    this.zoom = next;
    this.moved();
  }

  /** Show all of a box, no larger than it is. @param {Box | null} box */
  fit(box) {
    if (!box || !this.width || !this.height) return;
    const zoom = Math.min(1, this.width / (box.w + 2 * ROOM), this.height / (box.h + 2 * ROOM));
    this.zoom = Math.max(LEAST, zoom);
    this.x = box.x + box.w / 2 - this.width / 2 / this.zoom;
    this.y = box.y + box.h / 2 - this.height / 2 / this.zoom;
    this.moved();
  }

  /** The first sight of a flow: all of it, or its beginning where all would be too small to read; of a very large one its map. @param {Box | null} box */
  open(box) {
    this.fit(box);
    if (!box || this.zoom >= READABLE || this.zoom < MAP) return;
    this.zoom = READABLE;
    const [wide, high] = [this.width / this.zoom, this.height / this.zoom];
    this.x = box.w + EDGE * 2 > wide ? box.x - EDGE : box.x + box.w / 2 - wide / 2;
    this.y = box.h + EDGE * 2 > high ? box.y - EDGE : box.y + box.h / 2 - high / 2;
    this.moved();
  }

  /** Move no further than needed to have a box in sight. @param {Box} box */
  reveal(box) {
    const [seen, room] = [this.seen(), 40 / this.zoom];
    const dx = Math.min(0, box.x - room - seen.x) || Math.max(0, box.x + box.w + room - seen.x - seen.w);
    const dy = Math.min(0, box.y - room - seen.y) || Math.max(0, box.y + box.h + room - seen.y - seen.h);
    if (dx || dy) this.pan(dx * this.zoom, dy * this.zoom);
  }
}
