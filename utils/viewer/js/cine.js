// Cine: a pane's slices as a film, to the end and back again, so that no frame jumps.

const RATES = [2, 30]; // slowest and fastest, in slices a second

class Cine {
  constructor(pane) {
    this.pane = pane;
    this.rate = 8;
    this.direction = 1;
    this.button = make("button.player", { type: "button", onclick: () => this.toggle() });
  }

  get playing() {
    return Boolean(this.timer);
  }

  toggle() {
    this.play(!this.playing);
  }

  play(on) {
    const advance = () => this.advance();
    clearInterval(this.timer);
    this.timer = on && this.pane.slice ? setInterval(advance, 1000 / this.rate) : null;
    this.updateButton();
  }

  setRate(factor) {
    this.rate = Math.round(clamp(this.rate * factor, ...RATES));
    this.play(this.playing);
  }

  advance() {
    const { element, index, last } = this.pane;
    if (!element.isConnected) return this.play(false); // the notebook has removed the output
    if (index === 0) this.direction = 1;
    if (index === last) this.direction = -1;
    this.pane.scrollTo(index + this.direction);
  }

  updateButton() {
    const { kind } = this.pane;
    const label = this.playing
      ? `Stop cine of ${kind}`
      : `Cine of ${kind}, ${this.rate} slices a second`;
    this.button.textContent = this.playing ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", label);
    this.button.title = `${label} (c; [ slower, ] faster)`;
  }
}
