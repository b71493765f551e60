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

/**
 * Calls `gone` once the kernel behind a widget has ended or was restarted; returns a function that ends the watch.
 * JupyterLab has both signals; elsewhere only a message that cannot be sent tells.
 */
function whenKernelGoes(model, gone) {
  const signal = model.widget_manager?.kernel?.statusChanged;
  const status = (_, now) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(now)) gone();
  };
  model.on("comm_live_update", gone); // a restart
  signal?.connect(status); // a death
  return () => {
    model.off("comm_live_update", gone);
    signal?.disconnect(status);
  };
}

