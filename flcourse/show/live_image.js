/** The browser's half of LiveImage (live_image.py): shows the newest image, and says when it has. */

const make = maker("note");

function render({ model, el }) {
  const image = document.createElement("img"), line = make("div", "line", { role: "alert" });
  image.alt = model.get("label");
  Object.assign(image.style, { display: "block", maxWidth: "100%" });
  el.classList.add("flcourse-widget");
  el.append(image, line);
  let url = "";

  async function show() {
    const jpeg = model.get("jpeg");
    if (!jpeg?.byteLength) return;
    const last = url;
    url = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
    image.src = url;
    await image.decode().catch(() => {}); // until then the browser shows the last one
    URL.revokeObjectURL(last);
    try {
      model.send({ kind: "seen" });
    } catch { /* the kernel has gone: the last image stays */ }
  }

  const leave = attend(model, () => { line.textContent = ENDED; });
  model.on("change:jpeg", show);
  show();
  return () => {
    leave();
    model.off("change:jpeg", show);
    URL.revokeObjectURL(url);
  };
}

export default { render };
