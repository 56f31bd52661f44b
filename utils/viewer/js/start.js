// Ways in: the widget's (render) and the HTML file's (mountAll).

// Into a shadow root, so that the notebook's style does not reach the viewer, nor the viewer's the notebook.
function mount(host, study, images, quiz, save, before) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const viewer = new Viewer(root, study, images, quiz, save, before);
  const sheet = new CSSStyleSheet(); // a content security policy that forbids <style> allows this
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.replaceChildren(viewer.element);
  host.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab sees every key first and has its own use for 1–5
  return viewer;
}

// The HTML file: each host holds its study as JSON and its images as base64.
function mountAll(page) {
  for (const host of page.querySelectorAll(".spine-viewer")) {
    if (host.shadowRoot) continue;
    const [data, images] = host.children;
    const { quiz, ...study } = JSON.parse(data.textContent);
    mount(host, study, Uint8Array.from(atob(images.textContent), (c) => c.charCodeAt(0)), quiz);
    images.remove();
  }
}

// The widget: Python may change the study, the learner's answers go back to it.
function render({ model, el }) {
  const host = make("div.spine-viewer");
  el.append(host);
  const save = (quiz) => (model.set("quiz", quiz), model.save_changes());
  let viewer;
  const open = () => {
    viewer?.close();
    const { buffer, byteOffset, byteLength } = model.get("images"); // a DataView
    const images = new Uint8Array(buffer, byteOffset, byteLength);
    viewer = mount(host, structuredClone(model.get("study")), images, model.get("quiz"), save, viewer);
  };
  const follow = () => viewer.quiz.take(model.get("quiz")); // another view of this widget, or Python, has changed it
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
