/** What the scripts of all widgets share; assets.py puts it before each. */

/** A function that makes elements of class `flcourse-<widget>-<name>`. */
function maker(widget) {
  return (tag, name, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    element.className = `flcourse-${widget}-${name}`;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
}

const ENDED = "The kernel has ended or was restarted: run the cells again, from the top.";

/**
 * What each widget does while it is in the page: hides the note for readers without its kernel (notes.py), and calls
 * `gone` once the kernel has ended or was restarted. Returns a function that ends both. JupyterLab has the signals;
 * elsewhere only a message that cannot be sent tells.
 */
function attend(model, gone) {
  const hiding = document.createElement("style");
  hiding.textContent = `.flcourse-note-${model.get("note")} { display: none; }`;
  document.head.append(hiding);
  const signal = model.widget_manager?.kernel?.statusChanged;
  const status = (_, now) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(now)) gone();
  };
  model.on("comm_live_update", gone); // a restart
  signal?.connect(status); // a death
  return () => {
    hiding.remove();
    model.off("comm_live_update", gone);
    signal?.disconnect(status);
  };
}

