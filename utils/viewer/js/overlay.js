// What is drawn over a pane's picture: planes, crosshair, points, measures, ruler, corner text.

const PLANE_COLOURS = ["#8ee35c", "#e58cff", "#ffe14d"]; // one a pane; none is a grade's colour

// Every pane's slice where it cuts this one; with `blocks`, faintly, all the other slices of that series too.
function drawPlanes(ctx, pane, others, blocks) {
  for (const { slice, series, colour } of others) {
    if (!slice || Math.abs(dot(normal(pane.slice), normal(slice))) > 0.98) continue; // parallel: a pane to itself as well
    const onScreen = (plane) => planeLine(pane.slice, plane)?.map((xy) => pane.toScreen(xy));
    if (blocks) {
      [ctx.globalAlpha, ctx.strokeStyle, ctx.lineWidth] = [0.4, colour, 1];
      ctx.stroke(lines(...series.slices.map(onScreen).filter(Boolean)));
      ctx.globalAlpha = 1;
    }
    const line = onScreen(slice);
    if (line) stroke(ctx, lines(line), colour, 1);
  }
}

function drawCrosshair(ctx, pane, mm) {
  if (!mm || nearestSlice(pane.series.slices, mm) !== pane.index) return;
  const [x, y] = pane.toScreen(toPixel(pane.slice, mm));
  const arms = [[1, 0], [-1, 0], [0, 1], [0, -1]].map(([i, j]) => [9, 22].map((r) => [x + i * r, y + j * r]));
  stroke(ctx, lines(...arms), "#ffffff", 1.25);
}

// Solid on its own slice, faint on the next one either way (of the same block: the next block may be far off).
function drawMarks(ctx, pane, marks) {
  const drawn = [];
  for (const mark of marks) {
    const away = Math.abs(mark.slice - pane.index);
    if (away > 1 || (away && Math.abs(distance(pane.slice, mark.mm)) > 1.6 * pane.series.gap_mm)) continue;
    const at = pane.toScreen(toPixel(pane.slice, mark.mm));
    ctx.globalAlpha = away ? 0.35 : 1;
    if (mark.predicted) drawCross(ctx, at, mark.colour);
    else drawMarker(ctx, mark.cell.condition, at, mark.colour);
    drawn.push({ ...mark, at, alpha: ctx.globalAlpha });
  }
  drawLevels(ctx, drawn);
  ctx.globalAlpha = 1;
  return drawn;
}

// Beside the point; once where several of a level lie together, and then beside the patient's left one, off the canal.
function drawLevels(ctx, marks) {
  const named = [];
  const left = ({ cell }) => Number(side(cell.condition) === "Left");
  const near = (one, other) => Math.hypot(one.at[0] - other.at[0], 4 * (one.at[1] - other.at[1])) < 60;
  for (const mark of [...marks].sort((a, b) => left(b) - left(a))) {
    if (named.some((other) => other.cell.level === mark.cell.level && near(mark, other))) continue;
    ctx.globalAlpha = mark.alpha;
    letter(ctx, mark.cell.level, [mark.at[0] + 10, mark.at[1] + 4], "#e8e8e8");
    named.push(mark);
  }
}

const measuresHere = ({ measures, series, index }) => measures.filter((m) => m.series === series && m.index === index);
const lengthText = ({ ends: [from, to] }, { spacing }) => `${Math.hypot(...minus(to, from).map((v, i) => v * spacing[i])).toFixed(1)} mm`;

function drawMeasures(ctx, pane) {
  for (const measure of measuresHere(pane)) {
    const [from, to] = measure.ends.map((xy) => pane.toScreen(xy));
    stroke(ctx, lines([from, to], ...[from, to].map(([x, y]) => [[x - 3, y - 3], [x + 3, y + 3]])), "#ffffff", 1.25);
    const [x, y] = from[0] > to[0] ? from : to;
    letter(ctx, lengthText(measure, pane.slice), [x + 8, y + 4], "#ffffff");
  }
}

// A bar of whole centimetres, about a quarter of the pane, with a tick each.
function drawRuler(ctx, pane) {
  const [width, height] = pane.size;
  const px = 10 * pane.scale;
  const cm = [20, 10, 5, 2].find((v) => v * px < width * 0.28) ?? 1;
  const [left, y] = [(width - cm * px) / 2, Math.round(height) - 28.5]; // half a pixel: a sharp line
  const ticks = Array.from({ length: cm + 1 }, (_, i) => [[left + i * px, y - (i % 5 ? 3 : 5)], [left + i * px, y]]);
  stroke(ctx, lines([[left, y], [left + cm * px, y]], ...ticks), "#e8e8e8", 1);
  letter(ctx, `${cm} cm`, [left + cm * px + 6, y + 1.5], "#e8e8e8");
}

function writeCorners(pane) {
  const { slice, series, index, window, inverted, texts } = pane;
  if (!slice) return;
  const last = measuresHere(pane).at(-1);
  const [low, high] = window.map((v) => series.range[0] + v * (series.range[1] - series.range[0]));
  const middle = toPatient(slice, slice.size.map((n) => (n - 1) / 2));
  const place = `${alongAxis(middle, mainAxis(normal(slice)))} mm`;
  const words = {
    tl: series.description,
    bl: `Slice ${index + 1} of ${series.slices.length}\nInstance ${slice.instance}\n${place}`,
    br: `W ${Math.round(high - low)}\nL ${Math.round((low + high) / 2)}${inverted ? "\ninverted" : ""}`,
    measured: last ? `Distance ${lengthText(last, slice)}` : "",
    ...edgeLetters(slice),
  };
  for (const [where, text] of Object.entries(words)) if (texts[where].textContent !== text) texts[where].textContent = text;
}
