/**
 * The browser's half of Annotator (annotator.py): shows the photograph, takes clicks, drags and keys, and sends marks.
 *
 * Two frames are used. "Pixels" are Python's: integers at pixel centres, the image spans -0.5 to width - 0.5. "Parts"
 * are of the shown view, 0 to 1 from its left or top edge; canvases and the pointer are measured in them.
 */

const GRAB = { mouse: 9, pen: 12, touch: 20 }; // CSS pixels from a point within which it is taken hold of
const MOVED = 3; // CSS pixels before a press on a point counts as a drag
const NUDGE = 0.5, LEAP = 5; // image pixels that an arrow key moves a point, without and with Shift
const LOUPE = 4; // times larger than the image on the screen
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8, 12]; // of the view, times the whole image
const STEPS = 500; // that can be undone
const DARK = "rgb(16 20 24)", WHITE = "#fff";

const make = maker("mark");

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function render({ model, el }) {
  const size = [model.get("width"), model.get("height")];
  const scheme = model.get("scheme"), count = scheme.points.length;
  const partOf = [];
  for (const part of scheme.parts) for (const i of part.indices) partOf[i] = part;

  const button = (text, says) => make("button", "button", { type: "button", title: says, "aria-label": says }, text);
  const photo = make("canvas", "photo", { tabindex: 0, role: "application", "aria-label":
    "Photograph: click the 68 points. Keys: arrows move, Space sets, N and P choose the next and the previous point" });
  const back = button("‹ Back", "Choose the previous point (P)");
  const number = make("input", "number", {
    type: "number", min: 0, max: count - 1, step: 1, "aria-label": "Number of the chosen point",
  });
  const next = button("Next ›", "Choose the next point (N)");
  const undo = button("Undo", "Undo the last step (Ctrl+Z)");
  const remove = button("Remove", "Remove the chosen point (Delete)");
  const less = button("−", "Show more of the image (−)");
  const more = button("+", "Zoom in on the chosen point (+)");
  const swatch = make("span", "swatch"), title = make("span", "title");
  const hint = make("div", "hint"), status = make("div", "status", { role: "status" });
  const face = make("canvas", "scheme", { role: "img", "aria-label": "Where the chosen point lies on a face" });
  const loupe = make("canvas", "loupe", { role: "img", "aria-label": "The photograph around the cursor, enlarged" });
  el.classList.add("flcourse-widget", "flcourse-mark");
  el.dataset.lmSuppressShortcuts = "true"; // or JupyterLab would take N, P and Delete for its own
  el.style.setProperty("--aspect", size[0] / size[1]);
  face.style.aspectRatio = `100 / ${scheme.height}`;
  el.append(
    make("div", "left", {}, photo, make("div", "below", {}, back, number, next, undo, remove,
      make("span", "zoom", {}, less, more))),
    make("div", "right", {},
      make("div", "text", { "aria-live": "polite" }, make("div", "heading", {}, swatch, title), hint),
      make("div", "aids", {}, face, loupe), status));

  // --- state ---

  const marks = () => model.get("marks"), current = () => model.get("current");
  let drag = null; // a press under way: { pointer, index, point, from, grabbed, moved }
  let hover = null; // where the mouse is, in pixels
  let cursor = null; // where the keyboard would set a point
  let nudging = false; // arrow keys in a row are one step to undo
  let zoom = 1, corner = [-0.5, -0.5]; // the view: how much larger than the whole, and its top left, in pixels
  let bitmap = null, frame = 0;
  let ended = false; // the kernel

  const span = () => size.map((side) => side / zoom); // of the view, in pixels
  const toPixels = (parts) => parts.map((part, k) => corner[k] + part * span()[k]);
  const inside = (point) => point.map((value, k) => clamp(value, -0.5, size[k] - 0.5));
  const rounded = (point) => point.map((value) => Math.round(value * 1000) / 1000);
  /** The mark of a point as it is seen now, also while it is dragged. */
  const seen = (i) => (drag?.shown && drag.index === i ? drag.point : marks()[i]);
  /** The first point after `i` that is not set; `i` itself where all are. */
  function following(i, after) {
    for (let step = 1; step < count; step++) if (!after[(i + step) % count]) return (i + step) % count;
    return i;
  }

  /** Change marks, [index, point or null] each, as one step to undo, and choose a point. */
  function commit(changes, choose, join = false) {
    const before = marks(), after = before.slice();
    for (const [i, point] of changes) after[i] = point && rounded(inside(point));
    if (!join) {
      const step = changes.map(([i]) => [i, before[i]]);
      model.set("history", [...model.get("history"), step].slice(-STEPS));
    }
    model.set("marks", after);
    model.set("current", choose(after));
    model.save_changes();
  }

  function choose(i) {
    [nudging, cursor] = [false, null];
    model.set("current", (i + count) % count);
    model.save_changes();
    if (seen(current())) reveal(seen(current()));
  }

  function undoStep() {
    const history = model.get("history");
    if (!history.length) return;
    nudging = false;
    const after = marks().slice(), step = history.at(-1);
    for (const [i, before] of step) after[i] = before;
    model.set("history", history.slice(0, -1));
    model.set("marks", after);
    model.set("current", step[0][0]);
    model.save_changes();
  }

  function removePoint() {
    nudging = false;
    const i = current();
    if (!marks()[i]) return;
    cursor = marks()[i];
    commit([[i, null]], () => i);
  }

  // --- the view ---

  /** Where the keyboard acts, and where the loupe looks while no pointer is there. */
  function focus() {
    if (seen(current())) return seen(current());
    if (cursor) return cursor;
    // By then the eye is at the point before.
    for (let i = current() - 1; i >= 0; i--) if (marks()[i]) return marks()[i];
    return size.map((side) => (side - 1) / 2);
  }

  function moveView(middle) {
    corner = size.map((side, k) => clamp(middle[k] - span()[k] / 2, -0.5, side - 0.5 - span()[k]));
    draw();
  }

  /** Move the view, if need be, so that a point is well inside it. */
  function reveal(point) {
    const margin = span().map((side) => 0.08 * side);
    const out = point.some((v, k) => v < corner[k] + margin[k] || v > corner[k] + span()[k] - margin[k]);
    if (zoom > 1 && out) moveView(point);
  }

  function zoomBy(steps) {
    const middle = zoom > 1 && !seen(current()) ? corner.map((v, k) => v + span()[k] / 2) : focus();
    zoom = ZOOMS[clamp(ZOOMS.indexOf(zoom) + steps, 0, ZOOMS.length - 1)];
    moveView(middle);
  }

  // --- drawing ---

  /** Make a canvas as sharp as the screen; returns its context, scaled to CSS pixels, and its sides in them. */
  function prepare(canvas) {
    const width = canvas.clientWidth || 1, height = canvas.clientHeight || 1, dense = window.devicePixelRatio || 1;
    const sides = [Math.round(width * dense), Math.round(height * dense)];
    if (canvas.width !== sides[0]) canvas.width = sides[0];
    if (canvas.height !== sides[1]) canvas.height = sides[1];
    const context = canvas.getContext("2d");
    context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    context.clearRect(0, 0, width, height);
    return [context, width, height];
  }

  /** Lines through the parts' points, then a dot for each point; `at(i)` is in CSS pixels, or null. */
  function drawFace(context, at, radius, chosen) {
    context.lineJoin = context.lineCap = "round";
    for (const { indices, closed, colour } of scheme.parts) {
      const pairs = indices.slice(1).map((i, k) => [indices[k], i]);
      if (closed) pairs.push([indices.at(-1), indices[0]]);
      context.beginPath();
      for (const [a, b] of pairs) {
        if (!at(a) || !at(b)) continue;
        context.moveTo(...at(a));
        context.lineTo(...at(b));
      }
      for (const [style, width] of [["rgb(16 20 24 / 45%)", 2.5], [colour, 1.2]]) {
        Object.assign(context, { strokeStyle: style, lineWidth: width });
        context.stroke();
      }
    }
    const order = [...Array(count).keys()].filter((i) => i !== chosen);
    for (const i of [...order, chosen]) { // the chosen one on top
      if (!at(i)) continue;
      disc(context, at(i), i === chosen ? radius + 1 : radius, partOf[i].colour, !seen(i));
      if (i === chosen) ring(context, at(i), radius + 5);
    }
  }

  function disc(context, [x, y], radius, colour, hollow) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: hollow ? DARK : colour, strokeStyle: hollow ? colour : DARK, lineWidth: 1 });
    context.fill();
    context.stroke();
  }

  function ring(context, [x, y], radius) {
    for (const [style, width] of [[DARK, 4], [WHITE, 2]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: style, lineWidth: width });
      context.stroke();
    }
  }

  function cross(context, [x, y], gap, length) {
    for (const [style, width] of [[DARK, 3], [WHITE, 1]]) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + gap * dx, y + gap * dy);
        context.lineTo(x + length * dx, y + length * dy);
      }
      Object.assign(context, { strokeStyle: style, lineWidth: width });
      context.stroke();
    }
  }

  function drawPhoto() {
    const [context, width, height] = prepare(photo), [w, h] = span();
    // Beyond three screen pixels for each of the image's, its pixels are shown as they are: squares.
    context.imageSmoothingEnabled = width / w < 3;
    context.imageSmoothingQuality = "high";
    if (bitmap) context.drawImage(bitmap, corner[0] + 0.5, corner[1] + 0.5, w, h, 0, 0, width, height);
    const place = ([x, y]) => [(x - corner[0]) / w * width, (y - corner[1]) / h * height];
    const i = current();
    drawFace(context, (k) => seen(k) && place(seen(k)), 3, i);
    if (!seen(i) && cursor) cross(context, place(cursor), 3, 12);
  }

  function drawLoupe() {
    const [context, side, high] = prepare(loupe);
    const scale = LOUPE * photo.clientWidth / span()[0]; // CSS pixels for each of the image's
    const middle = drag?.shown ? drag.point : hover ?? focus();
    const place = ([x, y]) => [side / 2 + (x - middle[0]) * scale, high / 2 + (y - middle[1]) * scale];
    context.fillStyle = DARK;
    context.fillRect(0, 0, side, high);
    context.imageSmoothingEnabled = scale < 3;
    if (bitmap) context.drawImage(bitmap, ...place([-0.5, -0.5]), size[0] * scale, size[1] * scale);
    const i = current();
    drawFace(context, (k) => (seen(k) && k !== i ? place(seen(k)) : null), 4, -1);
    if (seen(i) && !drag?.shown) ring(context, place(seen(i)), 6);
    cross(context, [side / 2, high / 2], 6, side / 2);
  }

  function drawScheme() {
    const [context, width] = prepare(face), scale = width / 100;
    const place = (k) => scheme.points[k].map((value) => value * scale);
    drawFace(context, place, 2.5, current());
  }

  function say() {
    const i = current(), part = partOf[i], set = marks().filter(Boolean).length;
    swatch.style.background = part.colour;
    title.textContent = `${i} · ${part.name}`;
    hint.textContent = part.hint;
    const to = marks()[i] ? `Drag point ${i}, or move it by the arrow keys.` : "Click where it is.";
    status.textContent = set === count ? `All ${count} points are set. ${to}` : `${set} of ${count} set. ${to}`;
    if (ended) status.textContent = ENDED;
    if (document.activeElement !== number) number.value = i;
    undo.disabled = !model.get("history").length;
    remove.disabled = !marks()[i];
    less.disabled = zoom === ZOOMS[0];
    more.disabled = zoom === ZOOMS.at(-1);
  }

  function draw() {
    cancelAnimationFrame(frame); // several changes, one drawing
    frame = requestAnimationFrame(() => {
      drawPhoto();
      drawLoupe();
      drawScheme();
      say();
    });
  }

  // --- mouse, pen, finger ---

  /** Where a pointer is, in image pixels. */
  function pointed(event) {
    const box = photo.getBoundingClientRect();
    return toPixels([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  }

  /** The set point nearest to a place, within `reach` CSS pixels, or -1. */
  function nearest(place, reach) {
    const scale = photo.clientWidth / span()[0];
    let best = -1, least = reach;
    marks().forEach((mark, i) => {
      const distance = mark ? scale * Math.hypot(mark[0] - place[0], mark[1] - place[1]) : Infinity;
      // Of points at one place the chosen one is meant.
      if (distance < least || (distance === least && i === current())) [best, least] = [i, distance];
    });
    return best;
  }

  photo.addEventListener("pointerdown", (event) => {
    if (drag || event.button !== 0) return;
    event.preventDefault();
    photo.focus({ preventScroll: true });
    photo.setPointerCapture(event.pointerId);
    [nudging, cursor] = [false, null];
    const place = pointed(event), near = nearest(place, GRAB[event.pointerType] ?? GRAB.mouse);
    drag = { pointer: event.pointerId, from: [event.clientX, event.clientY], near, moved: false };
    if (near < 0) { // here, and as long as the button is down it follows
      Object.assign(drag, { index: current(), point: inside(place), shown: true });
    } else { // a drag moves it as far as the pointer moves: it does not jump below the pointer
      const mark = marks()[near];
      Object.assign(drag, { index: near, point: mark, offset: mark.map((value, k) => value - place[k]), at: place });
    }
    draw();
  });
  photo.addEventListener("pointermove", (event) => {
    const place = pointed(event);
    hover = event.pointerType === "touch" ? null : place;
    if (drag && event.pointerId === drag.pointer) {
      const far = Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]);
      drag.moved ||= far >= MOVED;
      if (drag.near < 0) drag.point = inside(place);
      else if (drag.moved) {
        drag.shown = true;
        drag.point = inside(place.map((value, k) => value + drag.offset[k]));
      }
    }
    draw();
  });
  photo.addEventListener("pointerup", (event) => {
    if (!drag || event.pointerId !== drag.pointer) return;
    const { index, point, shown, near, at } = drag, i = current();
    drag = null;
    if (shown && near < 0) { // set; then on to the next
      const fresh = !marks()[index];
      commit([[index, point]], (after) => (fresh ? following(index, after) : index));
    } else if (shown) commit([[index, point]], () => (marks()[i] ? index : i)); // dragged, while another is awaited
    else if (marks()[i]) choose(near); // clicked
    else commit([[i, at]], (after) => following(i, after)); // close to another, as lips' corners are
    draw();
  });
  for (const end of ["pointercancel", "lostpointercapture"]) {
    photo.addEventListener(end, (event) => {
      if (event.pointerId !== drag?.pointer) return;
      drag = null; // the press became something else: nothing is set
      draw();
    });
  }
  photo.addEventListener("pointerleave", () => {
    hover = null;
    draw();
  });
  photo.addEventListener("contextmenu", (event) => {
    if (!drag) return; // a long press with a finger is a careful one, not a question for a menu
    event.preventDefault();
    event.stopPropagation();
  });
  face.addEventListener("pointerdown", (event) => {
    const box = face.getBoundingClientRect(), scale = 100 / box.width;
    const place = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const distances = scheme.points.map(([x, y]) => Math.hypot(x - place[0], y - place[1]));
    choose(distances.indexOf(Math.min(...distances)));
  });

  // --- buttons and keys ---

  back.addEventListener("click", () => choose(current() - 1));
  next.addEventListener("click", () => choose(current() + 1));
  undo.addEventListener("click", undoStep);
  remove.addEventListener("click", removePoint);
  less.addEventListener("click", () => zoomBy(-1));
  more.addEventListener("click", () => zoomBy(1));
  number.addEventListener("input", () => { // as it is typed: 4, then 40
    const i = Math.round(number.valueAsNumber);
    if (Number.isFinite(i)) choose(clamp(i, 0, count - 1));
  });
  number.addEventListener("blur", () => { number.value = current(); });
  number.addEventListener("keydown", (event) => {
    event.stopPropagation(); // JupyterLab has plans of its own with Enter
    if (event.key !== "Enter") return;
    event.preventDefault();
    photo.focus({ preventScroll: true }); // on with its keys
  });

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function arrow(direction, shift) {
    hover = null; // the loupe follows the keys
    const i = current(), start = focus(), step = shift ? LEAP : NUDGE;
    const point = inside(start.map((value, k) => value + step * direction[k]));
    if (marks()[i]) {
      commit([[i, point]], () => i, nudging);
      nudging = true;
    } else cursor = point;
    reveal(point);
    draw();
  }
  function setHere() {
    const i = current(), fresh = !marks()[i];
    if (fresh) {
      const place = focus();
      nudging = false;
      commit([[i, place]], (after) => following(i, after));
      cursor = place; // the next one is near
    } else choose(following(i, marks()) === i ? i + 1 : following(i, marks()));
  }
  const KEYS = {
    " ": setHere, Enter: setHere, Delete: removePoint, Backspace: removePoint, n: () => choose(current() + 1),
    p: () => choose(current() - 1), u: undoStep, "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1),
  };
  photo.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = command || event.altKey ? command && key === "z" && undoStep : KEYS[key];
    if (!act && (!ARROWS[key] || command || event.altKey)) return;
    event.preventDefault();
    event.stopPropagation();
    if (act) act();
    else arrow(ARROWS[key], event.shiftKey);
  });

  // --- Python's side ---

  const watched = ["marks", "current", "history"].map((name) => `change:${name}`);
  for (const name of watched) model.on(name, draw);
  const jpeg = model.get("jpeg");
  createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).then((made) => {
    bitmap = made;
    draw();
  }, () => { status.textContent = "The image could not be shown."; });
  const resized = new ResizeObserver(draw);
  resized.observe(photo);
  const leave = attend(model, () => {
    ended = true;
    draw();
  });
  draw();
  return () => {
    leave();
    cancelAnimationFrame(frame);
    resized.disconnect();
    for (const name of watched) model.off(name, draw);
  };
}

export default { render };
