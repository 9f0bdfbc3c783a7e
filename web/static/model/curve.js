// The way of a wire: a smooth cubic to the right, straight corners below for one that leads back.

const BACK = 24; // how far a way back stands off the ports
const BELOW = 36;

/**
 * @param {Point} from @param {Point} to
 * @param {{bottom?: number, down?: boolean}} [how] bottom: lower edge of both ends' nodes, for a way
 *   back; down: it leaves by the bottom edge (an error port)
 * @returns {Curve}
 */
export function curve([x1, y1], [x2, y2], how = {}) {
  const back = x2 < x1 + 8 && Math.abs(x2 - x1) + Math.abs(y2 - y1) > 60;
  if (back && how.bottom !== undefined) {
    const low = how.bottom + BELOW;
    const start = /** @type {Point[]} */ (how.down ? [[x1, low]] : [[x1 + BACK, y1], [x1 + BACK, low]]);
    const corners = /** @type {Point[]} */ ([[x1, y1], ...start, [x2 - BACK, low], [x2 - BACK, y2], [x2, y2]]);
    return { x1, y1, x2, y2, c: null, corners, box: boxAround(corners) };
  }
  const pull = Math.max(32, Math.min(Math.abs(x2 - x1) / 2, 120));
  /** @type {[number, number, number, number]} */
  const c = how.down
    ? [x1, y1 + Math.max(30, Math.min(Math.abs(y2 - y1), 80)), x2 - pull, y2]
    : [x1 + pull, y1, x2 - pull, y2];
  const box = boxAround([[x1, y1], [x2, y2], [c[0], c[1]], [c[2], c[3]]]);
  return { x1, y1, x2, y2, c, corners: [], box };
}

/** @param {Point[]} points @returns {Box} */
function boxAround(points) {
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, w: Math.max(...xs) - x, h: Math.max(...ys) - y };
}

/** The place at a share of the way, 0 to 1. @param {Curve} way @param {number} share @returns {Point} */
export function along(way, share) {
  if (!way.c) return alongCorners(way.corners, share);
  const [a, b, c, d] = way.c;
  const rest = 1 - share;
  const [w0, w1, w2, w3] = [rest ** 3, 3 * rest * rest * share, 3 * rest * share * share, share ** 3];
  return [w0 * way.x1 + w1 * a + w2 * c + w3 * way.x2, w0 * way.y1 + w1 * b + w2 * d + w3 * way.y2];
}

/** @param {Point[]} corners @param {number} share @returns {Point} */
function alongCorners(corners, share) {
  const lengths = corners.slice(1).map(([x, y], at) => Math.abs(x - corners[at][0]) + Math.abs(y - corners[at][1]));
  let left = share * lengths.reduce((sum, each) => sum + each, 0);
  for (const [at, length] of lengths.entries()) {
    const [[ax, ay], [bx, by]] = [corners[at], corners[at + 1]];
    if (left <= length || at === lengths.length - 1) {
      const part = length ? Math.min(1, left / length) : 0;
      return [ax + (bx - ax) * part, ay + (by - ay) * part];
    }
    left -= length;
  }
  return corners[0];
}

/** How far a place is from a wire. @param {Curve} way @param {number} x @param {number} y */
export function distance(way, x, y) {
  let [least, [ax, ay]] = [Infinity, along(way, 0)];
  const steps = way.c ? 24 : 40;
  for (let at = 1; at <= steps; at++) {
    const [bx, by] = along(way, at / steps);
    least = Math.min(least, toSegment(x, y, ax, ay, bx, by));
    [ax, ay] = [bx, by];
  }
  return least;
}

/** @param {number} x @param {number} y @param {number} ax @param {number} ay @param {number} bx @param {number} by */
function toSegment(x, y, ax, ay, bx, by) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const share = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

/** Draw it on a path. @param {CanvasPath} path @param {Curve} way */
export function trace(path, way) {
  path.moveTo(way.x1, way.y1);
  if (way.c) {
    path.bezierCurveTo(way.c[0], way.c[1], way.c[2], way.c[3], way.x2, way.y2);
    return;
  }
  for (let at = 1; at < way.corners.length - 1; at++) {
    const [[x, y], [nx, ny]] = [way.corners[at], way.corners[at + 1]];
    path.arcTo(x, y, nx, ny, 8);
  }
  path.lineTo(way.x2, way.y2);
}
