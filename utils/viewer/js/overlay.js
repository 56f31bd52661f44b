// What is drawn over a pane's image: planes, crosshair, points, measurements, ruler, corner texts.

const PLANE_COLOURS = ["#8ee35c", "#e58cff", "#ffe14d"]; // one for each pane; none is a grade's
const WHITE = "#ffffff";
const PALE = "#e8e8e8";
const PARALLEL_COSINE = 0.98; // planes within 11° of each other have no useful intersection
const NEIGHBOUR_GAPS = 1.6; // a point further off than this many gaps is in another block
const SAME_ROW_PX = 16; // texts closer than this, one below the other, would touch
const LEVEL_NAME_PX = 60; // points closer than this share one name of their level

// Every other pane's slice where it cuts this one; with `blocks`, faintly, its series' slices too.
function drawPlanes(ctx, pane, panes, blocks) {
  const onScreen = (slice) => planeLine(pane.slice, slice)?.map((xy) => pane.toScreen(xy));
  for (const { slice, series, colour } of panes) {
    if (!slice || isParallel(pane.slice, slice)) continue; // so is the pane itself
    if (blocks) drawFaintly(ctx, series.slices.map(onScreen).filter(Boolean), colour);
    const line = onScreen(slice);
    if (line) stroke(ctx, lines(line), colour, 1);
  }
}

const isParallel = (a, b) => Math.abs(dot(normal(a), normal(b))) > PARALLEL_COSINE;

function drawFaintly(ctx, segments, colour) {
  ctx.globalAlpha = 0.4;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.stroke(lines(...segments));
  ctx.globalAlpha = 1;
}

// What a model takes for a structure, in the structure's colour, and thin: the image counts. Beside
// what it measured stands the number.
function drawOutlines(ctx, pane) {
  const { structures } = pane.viewer.study;
  const placed = (pane.slice.outlines ?? []).map(({ structure, xy, text }) => {
    return { text, colour: structures[structure].colour, line: xy.map((at) => pane.toScreen(at)) };
  });
  const measured = placed.filter(({ text }) => text);
  ctx.lineWidth = 1.25;
  for (const { line, colour } of placed) {
    const path = new Path2D();
    for (const at of line) path.lineTo(...at);
    ctx.strokeStyle = colour;
    ctx.stroke(path);
  }
  for (const one of measured) drawText(ctx, one.text, beside(ctx, one, measured), one.colour);
}

// Where a text stands: below an area; beside a line, to the left (at the right are the names of
// levels), or to the right if there is another line at its left.
function beside(ctx, { line, text }, all) {
  const { width } = ctx.measureText(text);
  const [x, y] = line.reduce((best, at) => (at[0] < best[0] ? at : best));
  if (line.length > 2) return [x, Math.max(...line.map((at) => at[1])) + 14];
  const others = all.filter((one) => one.line.length === 2).map((one) => one.line[0]);
  const hasNeighbour = others.some((at) => at[0] < x - 6 && Math.abs(at[1] - y) < SAME_ROW_PX);
  return [hasNeighbour ? x + 8 : x - width - 6, y + 4];
}

function drawCrosshair(ctx, pane, mm) {
  if (!mm || nearestSlice(pane.series.slices, mm) !== pane.index) return;
  const [x, y] = pane.toScreen(toPixel(pane.slice, mm));
  const directions = [[1, 0], [-1, 0], [0, 1], [0, -1]];
  const arm = ([i, j]) => [9, 22].map((r) => [x + i * r, y + j * r]);
  stroke(ctx, lines(...directions.map(arm)), WHITE, 1.25);
}

// Draws the marks in sight and returns them with their position on the screen. A mark is solid on
// its own slice and faint on the next one either way, if that is of the same block.
function drawMarks(ctx, pane, marks) {
  const drawn = marks.filter((mark) => isNear(mark, pane)).map((mark) => placed(mark, pane));
  for (const mark of drawn) {
    ctx.globalAlpha = mark.alpha;
    if (mark.predicted) drawCross(ctx, mark.at, mark.colour);
    else drawMarker(ctx, mark.cell.condition, mark.at, mark.colour);
  }
  drawLevels(ctx, drawn);
  ctx.globalAlpha = 1;
  return drawn;
}

function isNear({ slice, mm }, pane) {
  const away = Math.abs(slice - pane.index);
  if (away !== 1) return away === 0;
  return Math.abs(distance(pane.slice, mm)) <= NEIGHBOUR_GAPS * pane.series.gap_mm;
}

function placed(mark, pane) {
  const at = pane.toScreen(toPixel(pane.slice, mark.mm));
  return { ...mark, at, alpha: mark.slice === pane.index ? 1 : 0.35 };
}

// The level's name beside its points; once where several are close together, and then beside the
// point on the patient's left, which is off the canal.
function drawLevels(ctx, marks) {
  const named = [];
  const isLeft = ({ cell }) => Number(cell.condition.side === "Left");
  for (const mark of [...marks].sort((a, b) => isLeft(b) - isLeft(a))) {
    if (named.some((other) => sharesName(mark, other))) continue;
    ctx.globalAlpha = mark.alpha;
    drawText(ctx, mark.cell.level, [mark.at[0] + 10, mark.at[1] + 4], PALE);
    named.push(mark);
  }
}

// A name is wide and low: points below each other share one only within a quarter of the distance.
function sharesName(one, other) {
  if (one.cell.level !== other.cell.level) return false;
  const [dx, dy] = minus(one.at, other.at);
  return Math.hypot(dx, 4 * dy) < LEVEL_NAME_PX;
}

function lengthText({ ends: [from, to] }, { spacing }) {
  const mm = minus(to, from).map((v, i) => v * spacing[i]);
  return `${norm(mm).toFixed(1)} mm`;
}

function drawMeasurements(ctx, pane) {
  for (const measurement of pane.measurements.here) {
    const [from, to] = measurement.ends.map((xy) => pane.toScreen(xy));
    const ticks = [from, to].map(([x, y]) => [[x - 3, y - 3], [x + 3, y + 3]]);
    stroke(ctx, lines([from, to], ...ticks), WHITE, 1.25);
    const [x, y] = from[0] > to[0] ? from : to;
    drawText(ctx, lengthText(measurement, pane.slice), [x + 8, y + 4], WHITE);
  }
}

// A bar of whole centimetres, about a quarter of the pane wide, with a tick at each.
function drawRuler(ctx, pane) {
  const [width, height] = pane.size;
  const pxPerCm = 10 * pane.scale;
  const cm = [20, 10, 5, 2].find((v) => v * pxPerCm < width * 0.28) ?? 1;
  const left = (width - cm * pxPerCm) / 2;
  const right = left + cm * pxPerCm;
  const y = Math.round(height) - 28.5; // half a pixel, for a sharp line
  const tick = (_, i) => {
    const x = left + i * pxPerCm;
    return [[x, y - (i % 5 ? 3 : 5)], [x, y]];
  };
  const ticks = Array.from({ length: cm + 1 }, tick);
  stroke(ctx, lines([[left, y], [right, y]], ...ticks), PALE, 1);
  drawText(ctx, `${cm} cm`, [right + 6, y + 1.5], PALE);
}

function writeCorners(pane) {
  if (!pane.slice) return;
  for (const [corner, text] of Object.entries(cornerTexts(pane))) {
    const element = pane.texts[corner];
    if (element.textContent !== text) element.textContent = text;
  }
}

function cornerTexts(pane) {
  const { slice, series, index } = pane;
  const measured = pane.measurements.here.at(-1);
  const middle = toPatient(slice, middlePixel(slice));
  const position = `${alongAxis(middle, mainAxis(normal(slice)))} mm`;
  return {
    tl: series.description,
    bl: `Slice ${index + 1} of ${series.slices.length}\nInstance ${slice.instance}\n${position}`,
    br: windowText(pane),
    measured: measured ? `Distance ${lengthText(measured, slice)}` : "",
    ...edgeLetters(slice),
  };
}

function windowText({ window, inverted, series: { range } }) {
  const [low, high] = window.map((v) => range[0] + v * (range[1] - range[0]));
  const text = `W ${Math.round(high - low)}\nL ${Math.round((low + high) / 2)}`;
  return inverted ? `${text}\ninverted` : text;
}
