/**
 * The browser's half of DrawingPad (widgets.py): takes strokes from mouse, finger or pen, sends them to Python, and
 * shows Python's answer. Strokes are lists of [x, y] in pixels of the pad, whatever its size on the screen.
 */

const PAUSE = 80; // ms between two requests while the pen moves: about twelve a second
const PATIENCE = 3000; // ms without an answer before the pad says so
const SHARP = 2; // canvas pixels for each pixel of the pad: smooth on dense screens too

const make = maker("pad");

function render({ model, el }) {
  const size = model.get("size");
  const canvas = make("canvas", "canvas", {
    width: size * SHARP, height: size * SHARP, role: "img", "aria-label": "Drawing pad: draw a digit, 0 to 9",
  });
  const hint = make("span", "hint", { "aria-hidden": true }, "Draw a digit, 0 to 9");
  const clear = make("button", "clear", { type: "button", "aria-label": "Clear the drawing pad" }, "Clear");
  const status = make("span", "status", { role: "status" });
  const problem = make("div", "error", { role: "alert" });
  const seen = make("canvas", "seen", { role: "img", "aria-label": "What the network sees, 28 x 28 pixels" });
  const rows = Array.from({ length: 10 }, (_, digit) =>
    make("div", "row", { role: "listitem", "data-digit": digit },
      make("span", "digit", {}, String(digit)),
      make("span", "track", {}, make("span", "bar")),
      make("span", "percent")));
  el.classList.add("flcourse-widget", "flcourse-pad");
  el.append(
    make("div", "left", {}, make("div", "surface", {}, canvas, hint), make("div", "below", {}, clear, status)),
    make("div", "middle", {}, seen, make("span", "caption", {}, "what the network sees")),
    make("div", "bars", { role: "list", "aria-label": "Probability of each digit" }, ...rows),
    problem);

  // --- drawing ---

  let mine = null; // strokes that Python does not have yet; otherwise the model's are drawn
  let pen = null; // the pointer that draws; a second finger is ignored
  let changed = false, waiting = false; // something to send; a request under way
  let asked = -Infinity, timer, patience;

  const strokes = () => mine ?? model.get("strokes");

  function redraw() {
    const context = canvas.getContext("2d");
    context.setTransform(SHARP, 0, 0, SHARP, 0, 0);
    context.fillStyle = "black";
    context.fillRect(0, 0, size, size);
    Object.assign(context, { strokeStyle: "white", lineWidth: model.get("brush"), lineCap: "round", lineJoin: "round" });
    for (const points of strokes()) {
      context.beginPath();
      context.moveTo(...points[0]);
      for (const point of points) context.lineTo(...point); // the first again: one point alone is a dot
      context.stroke();
    }
    hint.hidden = strokes().length > 0;
  }

  /** Send the strokes, unless a request is under way (its answer calls this again) or the last was a moment ago. */
  function ask() {
    clearTimeout(timer);
    el.setAttribute("aria-busy", changed || waiting);
    if (!changed || waiting) return;
    const rest = pen === null ? 0 : PAUSE - (performance.now() - asked);
    if (rest > 0) {
      timer = setTimeout(ask, rest);
      return;
    }
    [changed, waiting, asked] = [false, true, performance.now()];
    model.set("strokes", mine.map((points) => points.slice())); // a copy: the model would not notice later points
    if (pen === null) mine = null;
    model.save_changes();
    clearTimeout(patience);
    patience = setTimeout(() => {
      waiting = false;
      ask(); // what was drawn meanwhile
      complain("Python does not answer: it is busy, or was restarted (then run the cells again).");
    }, PATIENCE);
  }

  /** Lengthen the stroke to where the pointer is. */
  function extend(event) {
    const box = canvas.getBoundingClientRect();
    const point = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((part) => Math.round(part * size * 10) / 10);
    const stroke = mine.at(-1), last = stroke.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < 1) return;
    stroke.push(point);
    changed = true;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pen !== null || event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId); // a stroke goes on, and ends, also outside the pad
    pen = event.pointerId;
    mine = [...strokes(), []];
    extend(event);
    redraw();
    ask();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const between = event.getCoalescedEvents?.() ?? []; // a fast pen moves several times a frame
    for (const part of between.length ? between : [event]) extend(part);
    redraw();
    ask();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId !== pen) return;
      pen = null;
      if (!changed && !waiting) mine = null;
      ask();
    });
  }
  canvas.addEventListener("contextmenu", (event) => {
    if (pen === null) return; // a long press with a finger is a slow stroke, not a question for a menu
    event.preventDefault();
    event.stopPropagation();
  });
  clear.addEventListener("click", () => {
    if (!strokes().length) return;
    [mine, pen, changed, waiting] = [[], null, true, false];
    redraw();
    ask();
  });

  // --- Python's answer ---

  function show() {
    const probabilities = model.get("probabilities");
    const winner = probabilities.indexOf(Math.max(...probabilities));
    const percent = (digit) => (digit in probabilities ? `${(100 * probabilities[digit]).toFixed(1)} %` : "");
    rows.forEach((row, digit) => {
      row.style.setProperty("--probability", probabilities[digit] ?? 0);
      row.classList.toggle("flcourse-pad-winner", digit === winner);
      row.lastChild.textContent = percent(digit);
    });
    const grey = model.get("seen"), side = Math.sqrt(grey.byteLength) || 28;
    Object.assign(seen, { width: side, height: side });
    const pixels = new ImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      const value = grey.byteLength ? grey.getUint8(i) : 0;
      pixels.data.set([value, value, value, 255], 4 * i);
    }
    seen.getContext("2d").putImageData(pixels, 0, 0);
    status.textContent = winner < 0 ? "" : `It reads ${winner}, ${percent(winner)}`;
    complain(model.get("error"));
  }

  function complain(text) {
    problem.textContent = problem.title = text; // the title in full, where the line is too short for it
  }

  function answered() {
    clearTimeout(patience);
    waiting = false;
    if (!changed && pen === null) mine = null;
    show();
    ask();
  }

  model.on("change:strokes", redraw);
  model.on("change:answers", answered);
  const leave = attend(model, () => complain(ENDED));
  redraw();
  show();
  return () => {
    leave();
    clearTimeout(timer);
    clearTimeout(patience);
    model.off("change:strokes", redraw);
    model.off("change:answers", answered);
  };
}

export default { render };
