// Elements, strokes and the shapes of points.

// The only way elements are made, make("p.quiet", {title}, ...children): text from data goes in as text, never as markup.
function make(spec, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  const attributes = children[0]?.constructor === Object ? children.shift() : {};
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const button = (text, title, onclick) => make("button", { type: "button", title, onclick }, text);

// Every line has a dark halo, to be seen on fat as well as on air.
function stroke(ctx, path, colour, width) {
  for (const [style, extra] of [["rgba(0, 0, 0, .75)", 2], [colour, 0]]) {
    [ctx.strokeStyle, ctx.lineWidth] = [style, width + extra];
    ctx.stroke(path);
  }
}

function letter(ctx, text, [x, y], colour) {
  [ctx.font, ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = ["11px system-ui, sans-serif", colour, "#000", 3];
  for (const write of ["strokeText", "fillText"]) ctx[write](text, x, y);
}

function lines(...segments) {
  const path = new Path2D();
  for (const [[x1, y1], [x2, y2]] of segments) path.moveTo(x1, y1), path.lineTo(x2, y2);
  return path;
}

const side = ({ name, family }) => (family === "spinal" ? "" : name.split(" ")[0]);
const SIGNS = {
  spinal: "○", "Left foraminal": "◀", "Right foraminal": "▷", "Left subarticular": "■", "Right subarticular": "□",
};
const sign = (condition) => SIGNS[`${side(condition)} ${condition.family}`.trim()];

// As in SIGNS: circle, triangle pointing to its side, square; the patient's left is filled, the right is hollow.
function drawMarker(ctx, condition, [x, y], colour) {
  const [path, r, to] = [new Path2D(), 5, side(condition) === "Left" ? -1 : 1];
  if (condition.family === "spinal") path.arc(x, y, r, 0, 7);
  else if (condition.family === "subarticular") path.rect(x - r + 0.5, y - r + 0.5, 2 * r - 1, 2 * r - 1);
  else path.moveTo(x + to * 6, y), path.lineTo(x - to * 4, y - r), path.lineTo(x - to * 4, y + r), path.closePath();
  stroke(ctx, path, colour, 2);
  if (side(condition) === "Left") (ctx.fillStyle = colour), ctx.fill(path);
}

function drawCross(ctx, [x, y], colour) {
  stroke(ctx, lines([[x - 4, y - 4], [x + 4, y + 4]], [[x - 4, y + 4], [x + 4, y - 4]]), colour, 1.75);
}
