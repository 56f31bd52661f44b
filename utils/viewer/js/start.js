// The two entry points: the widget's (render) and the HTML file's (mountAll).

// Into a shadow root, so that the notebook's style does not reach the viewer, nor the viewer's the
// notebook.
function mount(host, study, images, quiz, save, previous) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const viewer = new Viewer(root, study, images, quiz, save, previous);
  const sheet = new CSSStyleSheet(); // allowed by a content security policy that forbids <style>
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.replaceChildren(viewer.element);
  // JupyterLab sees every key first and has its own use for 1 to 5.
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  return viewer;
}

// The HTML file: each host holds its study as JSON and its images as base64.
function mountAll(page) {
  for (const host of page.querySelectorAll(".spine-viewer")) {
    if (host.shadowRoot) continue;
    const [data, images] = host.children;
    const { quiz, ...study } = JSON.parse(data.textContent);
    mount(host, study, fromBase64(images.textContent), quiz);
    images.remove();
  }
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
