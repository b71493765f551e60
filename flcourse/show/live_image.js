/** The browser's half of LiveImage (camera.py): shows the newest image, and says when it has. */

function render({ model, el }) {
  const image = document.createElement("img");
  image.alt = model.get("label");
  Object.assign(image.style, { display: "block", maxWidth: "100%" });
  el.append(image);
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

  model.on("change:jpeg", show);
  show();
  return () => {
    model.off("change:jpeg", show);
    URL.revokeObjectURL(url);
  };
}

export default { render };
