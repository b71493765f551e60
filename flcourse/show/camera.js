/**
 * The browser's half of BrowserCamera (camera.py): takes images from the camera, sends them to Python, two at a time and
 * always the newest, and shows what comes back: points, which are drawn over the camera's own live video, or an image
 * that Python drew on. The camera is on between Start and Stop only.
 */

const SIDE = 640; // px, the longer side of what is sent
const QUALITY = 0.7; // of its JPEG
const FLYING = 2; // frames on their way at once: while Python looks at one, the next travels
const BETWEEN = 33; // ms between two looks at the camera, where the browser does not say when an image is new
const PATIENCE = 2000; // ms without an answer before the widget says so
const AGAIN = 10000; // ms before another frame is sent: the last one may have been lost with the connection
const LIMIT = 60000; // ms before the camera is turned off: nobody looks at its images
const LATELY = 2000; // ms, over which frames/s and latency are averaged

const BUSY = "Python does not answer: it is busy, perhaps with another cell. This goes on as soon as it answers.";
const SILENT = "Python has not answered for a minute; the camera is off. When it is free again, press Start.";
const GONE = "The kernel has ended or was restarted; the camera is off. Run the cells again.";
const UNPLUGGED = "The camera was unplugged, or another program took it.";
const HIDDEN = "The camera was turned off because the page was hidden. Start turns it on again.";

const make = maker("cam");

/** What a video shows now: a VideoFrame, which copies nothing, or an ImageBitmap where the browser has none. */
async function snap(video) {
  return window.VideoFrame ? new VideoFrame(video) : createImageBitmap(video);
}

/**
 * A function that turns an image of `snap` into the bytes of a JPEG of [width, height], in a worker: there browsers do it
 * at once, while on the page they wait until nothing else is to do. Its `end()` ends the worker. Where there is no worker
 * the page does it.
 */
function encoder() {
  const code = `let canvas;
    onmessage = async ({ data: [image, [width, height]] }) => {
      canvas ??= new OffscreenCanvas(1, 1);
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      canvas.getContext("2d", { alpha: false, willReadFrequently: true }).drawImage(image, 0, 0, width, height);
      image.close();
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: ${QUALITY} });
      const bytes = await blob.arrayBuffer();
      postMessage(bytes, [bytes]);
    };`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const waiting = []; // answers come in the order of the questions
  const canvas = document.createElement("canvas");
  let worker = null;
  const stop = () => { // also where the page's security policy, or an old browser, has no such worker
    worker?.terminate();
    worker = null;
    for (const done of waiting.splice(0)) done(null); // what it had was lost
  };
  try {
    worker = new Worker(url);
    worker.onmessage = ({ data }) => waiting.shift()?.(data);
    worker.onerror = stop;
  } catch {
    stop();
  }

  async function encode(image, [width, height]) {
    if (worker) {
      worker.postMessage([image, [width, height]], [image]);
      return new Promise((done) => waiting.push(done));
    }
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(image, 0, 0, width, height);
    image.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    return blob.arrayBuffer();
  }

  encode.end = () => {
    stop();
    URL.revokeObjectURL(url);
  };
  return encode;
}

/** Draw boxes, points and labels onto a canvas, as `face/draw.py` does; coordinates are pixels of the image it covers. */
function drawFaces(canvas, parts, { boxes, labels }, points) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { lineJoin: "round", textBaseline: "middle" });
  boxes.forEach(([left, top, width, height], face) => {
    const side = Math.max(width, height);
    for (const [colour, more] of [["#000", 2], ["#fff", 0]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: Math.max(1, side / 150) + more });
      context.strokeRect(left, top, width, height);
    }
    // Integers are at pixel centres, and a canvas counts from the first pixel's corner.
    const at = (i) => [points[2 * (68 * face + i)] + 0.5, points[2 * (68 * face + i) + 1] + 0.5];
    const radius = Math.max(1, side / 110);
    for (const { indices, closed, colour } of parts) {
      context.beginPath();
      for (const i of indices) context.lineTo(...at(i));
      if (closed) context.closePath();
      Object.assign(context, { strokeStyle: colour, lineWidth: Math.max(1, side / 250) });
      context.stroke();
    }
    for (const [bigger, rim] of [[1.5, "#000"], [1, null]]) {
      for (const { indices, colour } of parts) {
        context.beginPath();
        for (const i of indices) {
          const [x, y] = at(i);
          context.moveTo(x + bigger * radius, y);
          context.arc(x, y, bigger * radius, 0, 2 * Math.PI);
        }
        context.fillStyle = rim ?? colour;
        context.fill();
      }
    }
    const size = Math.min(Math.max(side / 11, 11), 40); // px, of the label's letters
    context.font = `${size}px sans-serif`;
    const wide = context.measureText(labels[face]).width + size / 2, high = 1.3 * size;
    const x = Math.min(Math.max(left, 0), canvas.width - wide), y = Math.min(Math.max(top - high, 0), canvas.height - high);
    context.fillStyle = "#000";
    context.fillRect(x, y, wide, high);
    context.fillStyle = "#fff";
    context.fillText(labels[face], x + size / 4, y + high / 2);
  });
}

const streams = new Map(); // session -> the stream of its camera, for the other views in this page

/** Why there is no camera, and what to do. */
function explain(error) {
  if (!navigator.mediaDevices?.getUserMedia) {
    return window.isSecureContext
      ? "This program shows notebooks without a camera: open this one in JupyterLab in a browser."
      : `Browsers give the camera to secure pages only, and ${location.origin} is none. Open the page by https, or make `
        + `it local: ssh -L ${location.port || 80}:localhost:${location.port || 80} HOST, then http://localhost`
        + `${location.port ? `:${location.port}` : ""}.`;
  }
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The browser refuses the camera. Allow it for this page (the sign beside the address) and, in the system's "
        + "privacy settings, for the browser; then press Start again. Inside VS Code it is always refused: use JupyterLab.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera was found. Plug one in, then press Start again.";
    case "NotReadableError":
    case "AbortError":
      return "The camera is there but gives nothing: another program uses it. Close that one, then press Start again.";
    default:
      return `No image from the camera: ${error.message || error.name || error}`;
  }
}

function render({ model, el }) {
  const screen = make("canvas", "image", {
    width: 640, height: 480, role: "img", "aria-label": "The camera's image with the points of the faces in it",
  });
  const live = make("video", "video"); // shown below the canvas while only points are drawn on that
  Object.assign(live, { muted: true, playsInline: true, hidden: true });
  const hint = make("span", "hint");
  const button = make("button", "button", { type: "button" });
  const mirror = make("input", "check", { type: "checkbox" });
  const overlay = make("select", "select"), camera = make("select", "select");
  const figures = make("span", "figures");
  const problem = make("div", "error", { role: "alert" });
  overlay.append(...model.get("overlays").map((name) => new Option(name, name)));
  el.classList.add("flcourse-widget", "flcourse-cam");
  el.append(
    make("div", "screen", {}, live, screen, hint),
    make("div", "row", {}, button, make("label", "label", {}, mirror, "mirror"),
      make("label", "label", {}, "overlay", overlay), make("label", "label", {}, "camera", camera)),
    figures, problem);

  let run = null; // from Start to Stop: its camera's stream, and the frames that are on their way
  let ended = ""; // the session that was stopped here last: answers may still be coming
  let chosen = ""; // a camera's id, or whichever the browser gives
  let dead = false; // the kernel
  let latest = []; // the session and the number of the last answer shown
  let over = false; // points are drawn over the live video; else Python's image is shown

  function complain(text) {
    problem.textContent = text;
  }

  function show() {
    el.dataset.state = !run ? "off" : run.stream ? "on" : "asking"; // for the style and for tests
    button.textContent = run ? "Stop" : "Start";
    button.setAttribute("aria-label", run ? "Stop the camera" : "Start the camera");
    hint.textContent = !run ? "Start shows your camera's image here. It goes to this notebook's kernel and nowhere else."
      : run.stream ? "The camera is on; the first answer comes soon." : "Your browser asks whether this page may use the camera.";
    hint.hidden = Boolean(run ? run.shown : screen.dataset.drawn);
    if (!run) figures.textContent = "";
    mirror.checked = model.get("mirror");
    overlay.value = model.get("overlay");
  }

  // --- the camera ---

  async function start() {
    end("");
    if (dead) {
      complain(GONE);
      return;
    }
    const mine = {
      id: `${Date.now()}-${Math.random()}`, number: 0, shown: 0, fresh: false, times: [],
      flying: new Map(), // frame's number -> when it was taken
      asked: 0, // since when Python owes an answer
    };
    run = mine;
    complain("");
    show();
    let stream;
    try {
      const which = chosen ? { deviceId: { exact: chosen } } : { facingMode: "user" };
      const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: { ...which, ...size } });
    } catch (error) {
      if (run !== mine) return;
      chosen = ""; // it may be the one that is missing
      end(explain(error));
      return;
    }
    if (run !== mine) { // stopped while the browser asked
      stop(stream);
      return;
    }
    if (document.visibilityState === "hidden") {
      stop(stream);
      end(HIDDEN);
      return;
    }
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => { if (run === mine) end(UNPLUGGED); });
    Object.assign(mine, { stream, video: document.createElement("video"), began: performance.now(), encode: encoder() });
    streams.set(mine.id, stream);
    // Never part of the page, so that a notebook that takes far cells out of the page does not pause it.
    Object.assign(mine.video, { muted: true, playsInline: true, srcObject: stream });
    send({ kind: "start", session: mine.id });
    show();
    list(track.getSettings().deviceId);
    mine.watchdog = setInterval(() => watch(mine), 250);
    try {
      await mine.video.play();
    } catch (error) {
      if (run === mine) end(explain(error));
      return;
    }
    look(mine);
  }

  /** Name the cameras, which browsers tell only once one is allowed. */
  async function list(current) {
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    camera.replaceChildren(...devices.map((device, i) => new Option(device.label || `camera ${i + 1}`, device.deviceId)));
    if (current) camera.value = current;
    camera.disabled = false;
  }

  function stop(stream) {
    for (const track of stream.getTracks()) track.stop();
  }

  /** Turn the camera off, for a reason or for none; tell Python unless it was Python that said so. */
  function end(reason, tell = true) {
    if (run) {
      const last = run;
      if (over) keep(last.video);
      [run, ended] = [null, last.id];
      clearInterval(last.watchdog);
      if (last.stream) {
        stop(last.stream);
        last.video.srcObject = null;
        last.encode.end();
        streams.delete(last.id);
        if (tell) send({ kind: "stop", session: last.id });
      }
      complain(reason);
    }
    show();
  }

  /** Put the video's last image below the points: what stays on the screen when the camera is off. */
  function keep(video) {
    const context = screen.getContext("2d");
    context.globalCompositeOperation = "destination-over";
    if (model.get("mirror")) context.setTransform(-1, 0, 0, 1, screen.width, 0);
    if (video.videoWidth) context.drawImage(video, 0, 0, screen.width, screen.height);
    context.resetTransform();
    context.globalCompositeOperation = "source-over";
    over = false;
    showVideo(false);
  }

  // --- frames ---

  function send(message, buffers = []) {
    try {
      model.send(message, undefined, buffers);
    } catch { // the connection to the kernel is closed for good
      dead = true;
      end(GONE, false);
    }
  }

  /** Note every new image of the camera, and send it where the last one is back. */
  function look(mine) {
    if (run !== mine) return;
    const next = () => {
      mine.fresh = true;
      pump(mine);
      look(mine);
    };
    if (mine.video.requestVideoFrameCallback) mine.video.requestVideoFrameCallback(next);
    else setTimeout(next, BETWEEN);
  }

  async function pump(mine) {
    const { videoWidth: wide, videoHeight: high } = mine.video;
    if (run !== mine || mine.taking || mine.flying.size >= FLYING || !mine.fresh || !wide) return;
    [mine.fresh, mine.taking] = [false, true];
    const number = ++mine.number, taken = performance.now(), scale = SIDE / Math.max(wide, high);
    if (!mine.flying.size) mine.asked = taken;
    mine.flying.set(number, taken);
    const size = [wide, high].map((side) => Math.round(side * Math.min(scale, 1)));
    const image = await snap(mine.video).catch(() => null); // it has just ended
    mine.taking = false;
    const bytes = image && await mine.encode(image, size);
    if (run !== mine) return;
    if (!bytes) mine.flying.delete(number);
    else {
      const mirrored = model.get("mirror"); // Python turns the image, so that what is drawn on it can be read
      send({ kind: "frame", session: mine.id, number, time: (taken - mine.began) / 1000, mirrored }, [bytes]);
    }
  }

  /** Say when Python is silent, and do not leave the camera on for nobody. */
  function watch(mine) {
    if (over && live.paused) showVideo(true); // the cell was out of the page for a while
    const now = performance.now(), silence = mine.flying.size ? now - mine.asked : 0;
    if (silence > LIMIT) end(SILENT);
    else if (silence > PATIENCE) {
      complain(BUSY);
      if (now - Math.max(...mine.flying.values()) > AGAIN) {
        const since = mine.asked;
        mine.flying.clear();
        pump(mine);
        mine.asked = since;
      }
    }
  }

  /** Show the camera's own video below the canvas, or not. */
  function showVideo(shown) {
    const stream = shown ? streams.get(latest[0]) ?? null : null;
    if (live.srcObject !== stream) live.srcObject = stream;
    live.hidden = !stream;
    live.style.transform = model.get("mirror") ? "scaleX(-1)" : "";
    if (stream) live.play().catch(() => {}); // out of the page; `watch` tries again
  }

  async function answered(message, [data]) {
    const mine = run?.id === message.session ? run : null, came = performance.now();
    if (message.session === ended) return;
    const taken = mine?.flying.get(message.number);
    if (mine) {
      if (came - mine.asked > PATIENCE) complain("");
      for (const number of mine.flying.keys()) if (number <= message.number) mine.flying.delete(number);
      mine.asked = came;
      pump(mine); // the next one, while this one is shown
    }
    const bitmap = message.points ? null : await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    if (message.session === ended || (latest[0] === message.session && message.number < latest[1])) return;
    latest = [message.session, message.number];
    const [width, height] = message.size;
    if (screen.width !== width || screen.height !== height) Object.assign(screen, { width, height });
    if (bitmap) {
      screen.getContext("2d").drawImage(bitmap, 0, 0, width, height);
      bitmap.close();
    } else if (message.mirrored === model.get("mirror")) { // else it is of a frame before the mirror was turned
      const points = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
      drawFaces(screen, model.get("parts"), message, points);
    }
    if (over !== !bitmap) {
      over = !bitmap;
      showVideo(over);
    }
    screen.dataset.drawn = message.number;
    if (mine && run === mine && taken) tell(mine, performance.now() - taken, message.faces);
    else show();
  }

  /** Frames a second, and how long one is on its way: from the camera's image to the one with points. */
  function tell(mine, latency, faces) {
    const now = performance.now();
    mine.shown += 1;
    const lately = mine.times.filter(([at]) => now - at < LATELY);
    mine.times = [...(lately.length > 1 ? lately : mine.times.slice(-2)), [now, latency]]; // a slow one counts over more
    if (mine.shown === 1) show();
    const { times } = mine;
    if (times.length < 2 || now - (mine.told ?? -Infinity) < 250) return;
    mine.told = now;
    const mean = times.reduce((sum, [, value]) => sum + value, 0) / times.length;
    const rate = (1000 * (times.length - 1)) / (now - times[0][0]);
    const found = faces === 1 ? "1 face" : `${faces} faces`;
    figures.textContent = `${rate.toFixed(1)} frames/s · ${mean.toFixed(0)} ms from camera to screen · ${found}`;
  }

  // --- controls ---

  button.addEventListener("click", () => (run ? end("") : start()));
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  mirror.addEventListener("change", () => set("mirror", mirror.checked));
  overlay.addEventListener("change", () => set("overlay", overlay.value));
  camera.addEventListener("change", () => {
    chosen = camera.value;
    if (run) start();
  });
  camera.append(new Option("default", ""));
  camera.disabled = true; // until their names are known

  // --- Python's side, and the end of everything ---

  const turned = () => {
    if (over) {
      screen.getContext("2d").clearRect(0, 0, screen.width, screen.height); // until points of the turned image come
      showVideo(true);
    }
    show();
  };
  live.addEventListener("ended", () => { // another view's camera is off
    over = false;
    showVideo(false);
  });

  const received = (message, buffers) => {
    if (message.kind === "answer") answered(message, buffers);
    else if (message.kind === "off" && message.session === run?.id) end(model.get("error"), false);
  };
  const failed = () => {
    if (!run) complain(model.get("error"));
  };
  const lost = () => {
    dead = true;
    end(GONE, false);
  };
  const hide = () => {
    if (document.visibilityState === "hidden" && run?.stream) end(HIDDEN);
  };
  const leave = () => end("");
  const plugged = () => {
    if (run?.stream) list(run.stream.getVideoTracks()[0].getSettings().deviceId);
  };
  const events = {
    "msg:custom": received, "change:error": failed, "change:mirror": turned, "change:overlay": show,
  };
  const unwatch = attend(model, lost);
  for (const [name, handler] of Object.entries(events)) model.on(name, handler);
  document.addEventListener("visibilitychange", hide);
  window.addEventListener("pagehide", leave);
  navigator.mediaDevices?.addEventListener("devicechange", plugged);
  complain(model.get("error"));
  show();
  return () => { // the output was cleared, the cell run again or the notebook closed
    leave();
    for (const [name, handler] of Object.entries(events)) model.off(name, handler);
    unwatch();
    document.removeEventListener("visibilitychange", hide);
    window.removeEventListener("pagehide", leave);
    navigator.mediaDevices?.removeEventListener("devicechange", plugged);
  };
}

export default { render };
