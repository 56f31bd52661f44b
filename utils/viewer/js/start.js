// The two entry points: the widget's (render) and the HTML file's (mountAll).

// Into a shadow root, so that the notebook's style does not reach the viewer, nor the viewer's the
// notebook.
function mount(host, study, images, quiz, save, previous) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const viewer = new Viewer(root, study, images, quiz, save, previous);
  styled(host, viewer.element);
  // JupyterLab sees every key first and has its own use for 1 to 5.
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  return viewer;
}

// An element into the shadow root of its host, in the viewer's style; returns the host.
function styled(host, element) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // allowed by a content security policy that forbids <style>
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.replaceChildren(element);
  return host;
}

// The HTML file: several studies in one place, of which one is on show, or one alone.
function mountAll(page) {
  for (const place of page.querySelectorAll(".spine-studies"))
    if (!place.querySelector(".spine-viewer").shadowRoot) new Studies(place);
  for (const host of page.querySelectorAll(".spine-viewer"))
    if (!host.shadowRoot && !host.closest(".spine-studies")) mountHost(host);
}

// A host in a file holds its study as JSON and its images as base64.
function mountHost(host, save) {
  const [data, images] = host.children;
  const { quiz, ...study } = JSON.parse(data.textContent);
  const viewer = mount(host, study, fromBase64(images.textContent), quiz, save);
  images.remove();
  return viewer;
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// The widget: Python may change the study, and the learner's answers go back to Python.
function render({ model, el }) {
  const host = make("div.spine-viewer");
  el.append(host);
  const save = (quiz) => {
    model.set("quiz", quiz);
    model.save_changes();
  };
  let viewer;
  const open = () => {
    viewer?.close();
    const { buffer, byteOffset, byteLength } = model.get("images"); // a DataView
    const images = new Uint8Array(buffer, byteOffset, byteLength);
    const study = structuredClone(model.get("study"));
    viewer = mount(host, study, images, model.get("quiz"), save, viewer);
  };
  // Another view of this widget, or Python, has changed the quiz.
  const follow = () => viewer.quiz.receive(model.get("quiz"));
  open();
  model.on("change:study", open);
  model.on("change:quiz", follow);
  return () => {
    model.off("change:study", open);
    model.off("change:quiz", follow);
    viewer.close();
  };
}

export default { render };
