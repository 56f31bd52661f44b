// What is under the pointer: its position and value in the pane's corner, and the name of a marker
// nearby.

const NEAR_PX = 12; // a marker closer to the pointer than this is named
const TIP_OFFSET_PX = 12; // of the name from its marker

class Hover {
  constructor(pane) {
    this.pane = pane;
    this.at = undefined; // where the pointer rests, in CSS px of the pane
  }

  update(at) {
    const { texts, slice, marks } = this.pane;
    this.at = at;
    texts.tr.textContent = "";
    texts.tip.hidden = true;
    if (!at || !slice) return;
    const xy = this.pane.fromScreen(at);
    const pixel = xy.map(Math.round);
    if (pixel.some((v, i) => v < 0 || v >= slice.size[i])) return;
    texts.tr.textContent = `${positionText(toPatient(slice, xy))}\n${this.valueText(pixel)}`;
    const away = (mark) => norm(minus(mark.at, at));
    const near = marks.filter((mark) => away(mark) < NEAR_PX);
    const [nearest] = near.sort((a, b) => away(a) - away(b));
    if (nearest) this.showTip(nearest);
  }

  // The pixel's intensity in the DICOM file, as far as the JPEG has kept it.
  valueText([x, y]) {
    const { slice, series } = this.pane;
    if (!slice.grey) return "";
    const [low, high] = series.range;
    return Math.round(low + (slice.grey[y * slice.size[0] + x] / 255) * (high - low));
  }

  showTip({ cell, predicted, at }) {
    const { texts, size } = this.pane;
    const { tip } = texts;
    const { asking } = this.pane.viewer.quiz;
    const content = asking ? ["your grade?"] : tipContent(cell, predicted);
    tip.replaceChildren(cell.name, "\n", ...content);
    tip.hidden = false;
    const tipSize = [tip.offsetWidth, tip.offsetHeight];
    const [left, top] = at.map((v, i) => clamp(v + TIP_OFFSET_PX, 0, size[i] - tipSize[i] - 4));
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  }
}

function tipContent(cell, predicted) {
  if (!predicted) return [cell.label];
  const texts = [`predicted ${cell.predictionText}`, cell.distanceText];
  return [texts.filter(Boolean).join("\n"), ...probabilityBars(cell)];
}
