// Strokes and markers on a canvas.

const HALO = "rgba(0, 0, 0, .75)";
const RADIUS = 5; // of a marker, in CSS px

// Every line has a dark halo, so that it is visible on fat as well as on air.
function stroke(ctx, path, colour, width) {
  const passes = [
    [HALO, width + 2],
    [colour, width],
  ];
  for (const [style, lineWidth] of passes) {
    ctx.strokeStyle = style;
    ctx.lineWidth = lineWidth;
    ctx.stroke(path);
  }
}

function drawText(ctx, text, [x, y], colour) {
  ctx.font = "11px system-ui, sans-serif";
  ctx.strokeStyle = "#000";
  ctx.lineWidth = 3;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

function lines(...segments) {
  const path = new Path2D();
  for (const [from, to] of segments) {
    path.moveTo(...from);
    path.lineTo(...to);
  }
  return path;
}

const SIGNS = {
  spinal: "○",
  "Left foraminal": "◀",
  "Right foraminal": "▷",
  "Left subarticular": "■",
  "Right subarticular": "□",
};
const sign = ({ side, family }) => SIGNS[`${side} ${family}`.trim()];

// As in SIGNS: a circle, a triangle that points to its side, a square; filled on the patient's
// left, hollow on the right.
function drawMarker(ctx, { family, side }, [x, y], colour) {
  const path = new Path2D();
  if (family === "spinal") path.arc(x, y, RADIUS, 0, 7);
  else if (family === "foraminal") path.addPath(triangle(x, y, side === "Left" ? -1 : 1));
  else path.rect(x - RADIUS + 0.5, y - RADIUS + 0.5, 2 * RADIUS - 1, 2 * RADIUS - 1);
  stroke(ctx, path, colour, 2);
  if (side !== "Left") return;
  ctx.fillStyle = colour;
  ctx.fill(path);
}

function triangle(x, y, direction) {
  const path = new Path2D();
  path.moveTo(x + direction * 6, y);
  path.lineTo(x - direction * 4, y - RADIUS);
  path.lineTo(x - direction * 4, y + RADIUS);
  path.closePath();
  return path;
}

function drawCross(ctx, [x, y], colour) {
  const falling = [[x - 4, y - 4], [x + 4, y + 4]];
  const rising = [[x - 4, y + 4], [x + 4, y - 4]];
  stroke(ctx, lines(falling, rising), colour, 1.75);
}
