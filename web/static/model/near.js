// Where an arrow key leads: the nearest node in that direction, or along the wires.

/** @typedef {import('./scene.js').Scene} Scene */
/** @typedef {'left' | 'right' | 'up' | 'down'} Direction */

const TURN = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] };

/**
 * Straight ahead counts, off to the side counts double and three quarters of a turn not at all.
 * @param {Scene} scene @param {string | null} from @param {Direction} direction
 * @returns {string | null}
 */
export function nearest(scene, from, direction) {
  const start = from === null ? undefined : scene.boxes.get(from);
  if (!start) return first(scene);
  const [ox, oy] = [start.x + start.w / 2, start.y + start.h / 2];
  const [dx, dy] = TURN[direction];
  let [best, least] = [/** @type {string | null} */ (null), Infinity];
  for (const [id, box] of scene.boxes) {
    if (id === from) continue;
    const [x, y] = [box.x + box.w / 2 - ox, box.y + box.h / 2 - oy];
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    if (ahead < 8 || aside > ahead * 3) continue;
    const far = ahead + aside * 2;
    if (far < least) [best, least] = [id, far];
  }
  return best;
}

/** The node at the top left. @param {Scene} scene @returns {string | null} */
export function first(scene) {
  let [best, least] = [/** @type {string | null} */ (null), Infinity];
  for (const [id, box] of scene.boxes) {
    if (box.x + box.y * 2 < least) [best, least] = [id, box.x + box.y * 2];
  }
  return best;
}

/** The next node along (or against) the wires; again for the next one at a fork.
 * @param {Scene} scene @param {string | null} from @param {boolean} forward @param {string | null} [came]
 * @returns {string | null} */
export function alongWire(scene, from, forward, came = null) {
  if (from === null) return first(scene);
  const ends = forward
    ? scene.store.out(from).map((wire) => wire.to)
    : scene.store.into(from).map((wire) => wire.from);
  const sorted = [...new Set(ends)].sort((a, b) => (scene.boxes.get(a)?.y ?? 0) - (scene.boxes.get(b)?.y ?? 0));
  const at = came === null ? -1 : sorted.indexOf(came);
  return sorted[(at + 1) % Math.max(1, sorted.length)] ?? null;
}

/**
 * All nodes in the order messages pass them: sources first, each after all that lead to it where
 * that is possible. The outline's order.
 * @param {import('./store.js').Store} store @returns {{id: string, depth: number}[]}
 */
export function inOrder(store) {
  const waiting = new Map([...store.nodes.keys()].map((id) => [id, store.into(id).length]));
  const place = (/** @type {string} */ id) => {
    const [x, y] = store.at.get(id) ?? [0, 0];
    return y * 4 + x;
  };
  const ids = [...store.nodes.keys()].sort((a, b) => place(a) - place(b));
  /** @type {{id: string, depth: number}[]} */
  const found = [];
  const seen = new Set();
  const stack = ids.filter((id) => !waiting.get(id)).reverse().map((id) => ({ id, depth: 0 }));
  for (;;) {
    let next = stack.pop();
    if (!next) {
      // What is left is a circle: begin it at its first node.
      const left = ids.find((id) => !seen.has(id));
      if (left === undefined) return found;
      next = { id: left, depth: 0 };
    }
    if (seen.has(next.id)) continue;
    seen.add(next.id);
    found.push(next);
    const after = [...new Set(store.out(next.id).map((wire) => wire.to))].sort((a, b) => place(b) - place(a));
    for (const to of after) {
      waiting.set(to, (waiting.get(to) ?? 0) - store.into(to).filter((wire) => wire.from === next.id).length);
      if (!waiting.get(to) && !seen.has(to)) stack.push({ id: to, depth: next.depth + 1 });
    }
  }
}
