// Pixels and patient space. A slice is {size: [width, height] px, origin, axes: [column, row],
// spacing: [x, y]}, in mm of DICOM LPS; a pixel index is the centre of that pixel. The same as
// utils/dicom/geometry.py, and tested against it.

const PARALLEL = 1e-12; // below this a slope or a step counts as zero

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => a.map((v, i) => v - b[i]);
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const norm = (v) => Math.hypot(...v);

export function normal({ axes: [[a, b, c], [d, e, f]] }) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

export function toPatient(slice, [x, y]) {
  const dx = x * slice.spacing[0];
  const dy = y * slice.spacing[1];
  return slice.origin.map((o, i) => o + dx * slice.axes[0][i] + dy * slice.axes[1][i]);
}

// Of the foot of the perpendicular on the slice.
export function toPixel(slice, mm) {
  const offset = minus(mm, slice.origin);
  return slice.axes.map((axis, i) => dot(offset, axis) / slice.spacing[i]);
}

// Signed, in mm, from the slice's plane.
export function distance(slice, mm) {
  return dot(minus(mm, slice.origin), normal(slice));
}

const middlePixel = ({ size }) => size.map((n) => (n - 1) / 2);
const clampToImage = ({ size }, xy) => xy.map((v, i) => clamp(v, 0, size[i] - 1));

// To the image, not to its infinite plane: a distant oblique block must not be the nearest only
// because its plane passes through the point.
export function distanceToImage(slice, mm) {
  const inside = clampToImage(slice, toPixel(slice, mm));
  return norm(minus(toPatient(slice, inside), mm));
}

export function nearestSlice(slices, mm) {
  const distances = slices.map((slice) => distanceToImage(slice, mm));
  return distances.indexOf(Math.min(...distances));
}

// Where two images intersect: both ends of the line in pixels of `shown`, inside both rectangles;
// null if they do not intersect.
export function planeLine(shown, other) {
  const mmPerPixel = (axis, i) => dot(axis, normal(other)) * shown.spacing[i]; // off `other`
  const slope = shown.axes.map(mmPerPixel);
  const steepness = slope[0] ** 2 + slope[1] ** 2;
  if (steepness < PARALLEL) return null;
  const start = slope.map((v) => (-v * distance(other, shown.origin)) / steepness);
  const step = [-slope[1], slope[0]];
  const at = (t) => start.map((v, i) => v + t * step[i]);
  const inOther = (t) => toPixel(other, toPatient(shown, at(t)));
  const stepInOther = minus(inOther(1), inOther(0));
  const here = insideImage(start, step, shown.size);
  const there = insideImage(inOther(0), stepInOther, other.size);
  const from = Math.max(here[0], there[0]);
  const to = Math.min(here[1], there[1]);
  return from < to ? [at(from), at(to)] : null;
}

// The interval of t in which start + t * step is inside an image; if it never is, one that ends
// before it starts.
function insideImage(start, step, size) {
  const intervals = size.map((n, i) => insideAxis(start[i], step[i], n - 1));
  return [Math.max(...intervals.map(([from]) => from)), Math.min(...intervals.map(([, to]) => to))];
}

function insideAxis(start, step, last) {
  if (Math.abs(step) < PARALLEL)
    return start < 0 || start > last ? [Infinity, -Infinity] : [-Infinity, Infinity];
  const ends = [-start / step, (last - start) / step];
  return [Math.min(...ends), Math.max(...ends)];
}

const LETTERS = ["LR", "PA", "SI"]; // towards + and − of each patient axis
const TIE = 1e-9; // of two axes as good as equal, the first is the main one

const letterOf = (axis, sign) => LETTERS[axis][sign < 0 ? 1 : 0];
const alongAxis = (mm, axis) => `${letterOf(axis, mm[axis])} ${Math.abs(mm[axis]).toFixed(1)}`;
const positionText = (mm) => `${[0, 1, 2].map((axis) => alongAxis(mm, axis)).join(" · ")} mm`;

// The patient axis that a direction is closest to.
function mainAxis(direction) {
  const larger = (axis, main) => Math.abs(direction[axis]) > Math.abs(direction[main]) + TIE;
  return [1, 2].reduce((main, axis) => (larger(axis, main) ? axis : main), 0);
}

// The orientation letters of the image's four edges.
export function edgeLetters({ axes: [column, row] }) {
  const letters = (direction) => {
    const axis = mainAxis(direction);
    const ahead = direction[axis] > 0 ? 1 : -1;
    return [letterOf(axis, -ahead), letterOf(axis, ahead)];
  };
  const [left, right] = letters(column);
  const [top, bottom] = letters(row);
  return { left, right, top, bottom };
}
