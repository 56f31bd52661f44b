// Where things are. A slice is {size: [w, h], origin, axes: [column, row], spacing: [x, y]}, all in LPS mm; a pixel index
// means the centre of that pixel. The same as utils/geometry.py, and tested against it.

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => a.map((v, i) => v - b[i]);
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

export function normal({ axes: [[a, b, c], [d, e, f]] }) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

export function toPatient(slice, [x, y]) {
  const [dx, dy] = [x * slice.spacing[0], y * slice.spacing[1]];
  return slice.origin.map((o, i) => o + dx * slice.axes[0][i] + dy * slice.axes[1][i]);
}

export function toPixel(slice, mm) {
  const from = minus(mm, slice.origin);
  return slice.axes.map((axis, i) => dot(from, axis) / slice.spacing[i]);
}

export function distance(slice, mm) {
  return dot(minus(mm, slice.origin), normal(slice));
}

// To the image, not to its endless plane: a far oblique block must not win because its plane happens to pass by.
export function distanceToImage(slice, mm) {
  const inside = toPixel(slice, mm).map((v, i) => clamp(v, 0, slice.size[i] - 1));
  return Math.hypot(...minus(toPatient(slice, inside), mm));
}

export function nearestSlice(slices, mm) {
  const distances = slices.map((slice) => distanceToImage(slice, mm));
  return distances.indexOf(Math.min(...distances));
}

// Where two images cut each other: two ends in pixels of `shown`, inside both rectangles; null where they do not meet.
export function planeLine(shown, other) {
  const slope = shown.axes.map((axis, i) => dot(axis, normal(other)) * shown.spacing[i]); // mm off `other` per pixel
  const steepness = slope[0] ** 2 + slope[1] ** 2;
  if (steepness < 1e-12) return null;
  const start = slope.map((v) => (-v * distance(other, shown.origin)) / steepness);
  const step = [-slope[1], slope[0]];
  const at = (t) => start.map((v, i) => v + t * step[i]);
  const there = (t) => toPixel(other, toPatient(shown, at(t)));
  let [from, to] = [-Infinity, Infinity];
  for (const [p, d, size] of [[start, step, shown.size], [there(0), minus(there(1), there(0)), other.size]])
    for (const i of [0, 1]) {
      if (Math.abs(d[i]) < 1e-12) {
        if (p[i] < 0 || p[i] > size[i] - 1) return null;
        continue;
      }
      const ends = [-p[i] / d[i], (size[i] - 1 - p[i]) / d[i]];
      [from, to] = [Math.max(from, Math.min(...ends)), Math.min(to, Math.max(...ends))];
    }
  return from < to ? [at(from), at(to)] : null;
}

const LETTERS = ["LR", "PA", "SI"]; // towards + and − of each patient axis
const mainAxis = (d) => [1, 2].reduce((main, i) => (Math.abs(d[i]) > Math.abs(d[main]) + 1e-9 ? i : main), 0);
const alongAxis = (mm, i) => `${LETTERS[i][mm[i] < 0 ? 1 : 0]} ${Math.abs(mm[i]).toFixed(1)}`;
const placeText = (mm) => `${[0, 1, 2].map((i) => alongAxis(mm, i)).join(" · ")} mm`;

export function edgeLetters({ axes }) {
  const [column, row] = axes.map((d) => [LETTERS[mainAxis(d)], d[mainAxis(d)] > 0 ? 0 : 1]);
  return { left: column[0][1 - column[1]], right: column[0][column[1]], top: row[0][1 - row[1]], bottom: row[0][row[1]] };
}
