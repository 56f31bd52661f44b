// The buttons above the panes, and the list of what mouse and keys do.

const HELP = {
  "Wheel, arrows, Home/End, bar":
    "scroll through the slices; at the last one the wheel scrolls the page",
  "Click or drag, a finger's tap or move across, Shift-arrows":
    "set the crosshair; the other panes follow",
  "A finger up or down": "scrolls the page, unless it measures",
  "Right-drag, 1–5, i":
    "window and level, presets (in a quiz 1–3 grade), invert; also , . < >",
  "Ctrl-wheel, pinch, + −": "zoom",
  "Shift-drag, middle-drag": "move the image",
  "Double click, 0": "reset the pane",
  "Page Up/Down": "another series in this pane",
  "c, [ ]": "cine, slower, faster",
  "m, then drag": "measure; by keys: Enter, Shift-arrows, Enter; Escape clears",
  "l, s": "labels, outlines of the structures",
  "p, b": "planes, all slices of the other series",
  "n, Shift-n": "next and previous of the cells chosen above the grid",
};

// What is drawn over the images or how a drag acts; `on` is how a viewer starts.
const TOGGLES = {
  labels: { text: "Labels", about: "Show or hide labels", key: "l", on: true },
  structures: {
    text: "Structures",
    about: "Outline what a model takes for vertebra, disc, sac, sacrum and arch",
    key: "s",
    on: false,
  },
  planes: { text: "Planes", about: "Show or hide planes and crosshair", key: "p", on: true },
  blocks: {
    text: "Blocks",
    about: "Draw all slices of the other panes' series, not only those on show",
    key: "b",
    on: false,
  },
  measure: { text: "Measure", about: "Drag measures a distance in mm", key: "m", on: false },
};

class Toolbar {
  constructor(viewer) {
    this.viewer = viewer;
    const names = Object.keys(TOGGLES);
    this.toggles = Object.fromEntries(names.map((name) => [name, this.toggleButton(name)]));
    this.quiz = this.quizButton();
    this.element = this.build();
  }

  build() {
    const { study, panes } = this.viewer;
    const about = "Window, zoom, position and measures of all panes";
    const reset = button("Reset", about, () => panes.forEach((pane) => pane.reset()));
    const attributes = { role: "toolbar", "aria-label": "View" };
    const groups = [this.windowButtons(), Object.values(this.toggles), [this.quiz], [reset]];
    const spans = groups.map((buttons) => make("span.group", ...buttons));
    this.legend = legendOf((study.structures ?? []).filter((_, k) => this.viewer.outlined.has(k)));
    const title = make("strong", `Study ${study.id}`);
    return make("div.toolbar", attributes, title, ...spans, this.legend);
  }

  // Of the active pane.
  windowButtons() {
    const { viewer } = this;
    const preset = ([name, window], i) =>
      button(name, `Window of the active pane (${i + 1})`, () => viewer.active.setWindow(window));
    const invert = () => viewer.active.setWindow(viewer.active.window, !viewer.active.inverted);
    const presets = Object.entries(WINDOWS).map(preset);
    return [...presets, button("Invert", "Invert the active pane (i)", invert)];
  }

  toggleButton(name) {
    const { text, about, key } = TOGGLES[name];
    const toggle = button(text, `${about} (${key})`, () => this.viewer.toggle(name));
    toggle.setAttribute("aria-pressed", this.viewer.show[name]);
    toggle.hidden = name === "structures" && !this.viewer.outlined.size;
    return toggle;
  }

  quizButton() {
    const { quiz } = this.viewer;
    const about = quiz.possible
      ? "Hides labels and predictions and asks you for the grades"
      : "This study has no labels to be quizzed on";
    return Object.assign(button("Quiz", about, () => quiz.toggle()), { disabled: !quiz.possible });
  }

  // After the quiz or a toggle has changed.
  update() {
    const { show, quiz } = this.viewer;
    for (const [name, toggle] of Object.entries(this.toggles))
      toggle.setAttribute("aria-pressed", show[name]);
    this.quiz.setAttribute("aria-pressed", quiz.on);
    this.legend.hidden = !(show.structures && this.viewer.outlined.size);
  }
}

// What the colours of outlines stand for.
function legendOf(structures) {
  const entries = structures.map(({ name, colour }) => make("i", { style: `border-color: ${colour}` }, name));
  return make("span.structures", { hidden: true }, ...entries);
}

function helpList() {
  const rows = Object.entries(HELP).map(([keys, what]) => [make("dt", keys), make("dd", what)]);
  return make("details", make("summary", "Mouse, touch and keys"), make("dl", ...rows.flat()));
}
