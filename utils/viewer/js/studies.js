// Several studies in a saved page, which has no kernel to ask for others: a search, a list and two
// buttons above the one on show. In a running notebook the widget's picker does this.

class Studies {
  // place: holds {of, about: {study: {summary, words}}} as JSON, and a host for each study.
  constructor(place) {
    const { of, about } = JSON.parse(place.firstElementChild.textContent);
    const hosts = [...place.querySelectorAll(".spine-viewer")];
    Object.assign(this, { of, about, viewers: new Map() });
    this.hosts = new Map(hosts.map((host) => [host.dataset.study, host]));
    this.shown = this.offered[0];
    place.prepend(this.build());
    this.show(this.shown); // before the list is written: a quiz hides the grades in it
    this.filter();
  }

  build() {
    const placeholder = "search: severe l4/l5";
    const oninput = () => this.filter();
    this.search = make("input", { type: "search", "aria-label": "Search", placeholder, oninput });
    this.list = make("select", { "aria-label": "Study", onchange: () => this.show(this.list.value) });
    const back = button("‹", "Previous study", () => this.step(-1));
    const next = button("›", "Next study", () => this.step(1));
    this.status = make("span.quiet", { role: "status" });
    const bar = make("div.toolbar.studies", this.search, this.list, back, next, this.status);
    return styled(make("div"), bar);
  }

  // Those in which one target has all words of the search, as in Python's search.py.
  get offered() {
    const words = this.search?.value.toLowerCase().split(/\s+/) ?? [];
    const isMeant = (text) => words.every((word) => text.includes(word));
    return [...this.hosts.keys()].filter((study) => this.about[study].words.some(isMeant));
  }

  filter() {
    const { offered, of } = this;
    this.status.textContent =
      `${offered.length} of the ${this.hosts.size} in this page; the running notebook has ${of}`;
    if (!offered.length) return;
    this.write(offered);
    if (!offered.includes(this.shown)) this.show(offered[0]);
  }

  // A quiz that is running hides the grades here, too.
  write(studies) {
    const { asking } = this.viewers.get(this.shown)?.quiz ?? {};
    const text = (study) => (asking ? study : `${study} · ${this.about[study].summary}`);
    const options = studies.map((study) => make("option", { value: study }, text(study)));
    this.list.replaceChildren(...options);
    this.list.value = this.shown;
  }

  step(by) {
    const studies = [...this.list.options].map(({ value }) => value);
    const position = studies.indexOf(this.shown) + by;
    this.show(studies.at(position % studies.length));
  }

  show(study) {
    const before = this.viewers.get(this.shown);
    this.shown = study;
    // Not `hidden`, which the viewer's own display: block would outweigh.
    for (const [other, host] of this.hosts) host.style.display = other === study ? "" : "none";
    if (!this.viewers.has(study)) this.viewers.set(study, this.open(study));
    const { quiz } = this.viewers.get(study);
    if (before) quiz.receive({ ...quiz.state, on: before.quiz.on });
    this.list.value = study;
  }

  open(study) {
    const relabel = () => this.write([...this.list.options].map(({ value }) => value));
    return mountHost(this.hosts.get(study), relabel);
  }
}
