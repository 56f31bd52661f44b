// The distances measured in a pane. Each is {series, index of the slice, ends in its pixels}; the
// mouse makes one by a drag, the keys make one from crosshair to crosshair.

const SHORTEST_PX = 3; // on the screen; a click measures nothing

class Measurements {
  constructor(pane) {
    this.pane = pane;
    this.clear();
  }

  clear() {
    this.all = [];
    this.open = null; // the one whose second end still moves
  }

  // Those on the slice on show.
  get here() {
    const { series, index } = this.pane;
    return this.all.filter((m) => m.series === series && m.index === index);
  }

  start(xy) {
    const { series, index } = this.pane;
    this.discard(); // an earlier one that was never finished
    this.open = { series, index, ends: [xy, xy] };
    this.all.push(this.open);
  }

  stretch(xy) {
    if (this.open) this.open.ends = [this.open.ends[0], xy]; // Escape may have removed it
    this.pane.viewer.refresh();
  }

  finish() {
    const [from, to] = this.open.ends.map((xy) => this.pane.toScreen(xy));
    if (norm(minus(to, from)) < SHORTEST_PX) this.discard();
    this.open = null;
    this.pane.viewer.refresh();
  }

  discard() {
    this.all = this.all.filter((m) => m !== this.open);
  }
}
