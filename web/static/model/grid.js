// Which boxes are near a place: a table of square cells, so that thousands need no search.

const CELL = 256;
const ROW = 2 ** 24; // more cells than any flow is high

export class Grid {
  constructor() {
    /** @type {Map<number, Set<string>>} */
    this.cells = new Map();
    /** @type {Map<string, number[]>} */
    this.keys = new Map();
  }

  /** @param {string} id @param {Box} box */
  put(id, box) {
    const keys = cellsOf(box);
    const before = this.keys.get(id);
    if (before?.length === keys.length && before.every((key, at) => key === keys[at])) return;
    this.drop(id);
    for (const key of keys) {
      let cell = this.cells.get(key);
      if (!cell) this.cells.set(key, (cell = new Set()));
      cell.add(id);
    }
    this.keys.set(id, keys);
  }

  /** @param {string} id */
  drop(id) {
    for (const key of this.keys.get(id) ?? []) this.cells.get(key)?.delete(id);
    this.keys.delete(id);
  }

  clear() {
    this.cells.clear();
    this.keys.clear();
  }

  /** Everything that may touch a box, each once. @param {Box} box @returns {Set<string>} */
  near(box) {
    const wide = (box.w / CELL + 1) * (box.h / CELL + 1);
    if (wide > this.cells.size) return new Set(this.keys.keys());
    const found = new Set();
    for (const key of cellsOf(box)) for (const id of this.cells.get(key) ?? []) found.add(id);
    return found;
  }
}

/** The cells of a box, as numbers: a drag of thousands asks for them in every frame. @param {Box} box */
function cellsOf(box) {
  const [left, top] = [Math.floor(box.x / CELL), Math.floor(box.y / CELL)];
  const [right, bottom] = [Math.floor((box.x + box.w) / CELL), Math.floor((box.y + box.h) / CELL)];
  const found = [];
  for (let x = left; x <= right; x++) for (let y = top; y <= bottom; y++) found.push(x * ROW + y);
  return found;
}
