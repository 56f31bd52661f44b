// HTML elements.

// The only way in which elements are made: make("p.quiet", {title}, ...children). Text from data is
// inserted as text, never as markup.
function make(spec, ...children) {
  const [tag, ...classes] = spec.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  const attributes = children[0]?.constructor === Object ? children.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const button = (text, title, onclick) => make("button", { type: "button", title, onclick }, text);
