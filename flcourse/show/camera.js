/**
 * The browser's half of BrowserCamera (camera.py): takes images from the camera, sends them to Python, one at a time
 * and always the newest, and shows what comes back. The camera is on between Start and Stop only.
 */

const SIDE = 640; // px, the longer side of what is sent
const QUALITY = 0.8; // of its JPEG: 30 to 50 KB a frame
const BETWEEN = 33; // ms between two looks at the camera, where the browser does not say when an image is new
const PATIENCE = 2500; // ms without an answer before the widget says so
const AGAIN = 10000; // ms before another frame is sent: the last one may have been lost with the connection
const LIMIT = 60000; // ms before the camera is turned off: nobody looks at its images
const LATELY = 2000; // ms, over which frames/s and latency are averaged

const BUSY = "Python does not answer: it is busy, perhaps with another cell. This goes on as soon as it answers.";
const SILENT = "Python has not answered for a minute; the camera is off. When it is free again, press Start.";
const GONE = "The kernel has ended or was restarted; the camera is off. Run the cells again.";
const UNPLUGGED = "The camera was unplugged, or another program took it.";
const HIDDEN = "The camera was turned off because the page was hidden. Start turns it on again.";

const make = maker("cam");

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
  const hint = make("span", "hint");
  const button = make("button", "button", { type: "button" });
  const mirror = make("input", "check", { type: "checkbox" });
  const overlay = make("select", "select"), camera = make("select", "select");
  const figures = make("span", "figures");
  const problem = make("div", "error", { role: "alert" });
  overlay.append(...model.get("overlays").map((name) => new Option(name, name)));
  el.classList.add("flcourse-widget", "flcourse-cam");
  el.append(
    make("div", "screen", {}, screen, hint),
    make("div", "row", {}, button, make("label", "label", {}, mirror, "mirror"),
      make("label", "label", {}, "overlay", overlay), make("label", "label", {}, "camera", camera)),
    figures, problem);

  let run = null; // from Start to Stop: its camera's stream, and the frame that is on its way
  let ended = ""; // the session that was stopped here last: answers may still be coming
  let chosen = ""; // a camera's id, or whichever the browser gives
  let dead = false; // the kernel
  const shot = document.createElement("canvas"); // what is sent is drawn here

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
    const mine = { id: `${Date.now()}-${Math.random()}`, number: 0, shown: 0, fresh: false, sent: 0, times: [] };
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
    Object.assign(mine, { stream, video: document.createElement("video"), began: performance.now() });
    // Never part of the page, so that a notebook that takes far cells out of the page does not pause it.
    Object.assign(mine.video, { muted: true, playsInline: true, srcObject: stream });
    send({ kind: "start", session: mine.id });
    show();
    list(track.getSettings().deviceId);
    mine.watchdog = setInterval(() => watch(mine), 500);
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
      [run, ended] = [null, last.id];
      clearInterval(last.watchdog);
      if (last.stream) {
        stop(last.stream);
        last.video.srcObject = null;
        if (tell) send({ kind: "stop", session: last.id });
      }
      complain(reason);
    }
    show();
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
    if (run !== mine || mine.sent || !mine.fresh || !wide) return;
    mine.fresh = false;
    mine.sent = performance.now();
    const number = ++mine.number, seconds = (mine.sent - mine.began) / 1000;
    const scale = Math.min(1, SIDE / Math.max(wide, high));
    Object.assign(shot, { width: Math.round(wide * scale), height: Math.round(high * scale) });
    shot.getContext("2d").drawImage(mine.video, 0, 0, shot.width, shot.height);
    const mirrored = model.get("mirror"); // Python does it
    const blob = await new Promise((done) => shot.toBlob(done, "image/jpeg", QUALITY));
    const bytes = await blob.arrayBuffer();
    if (run === mine) send({ kind: "frame", session: mine.id, number, time: seconds, mirrored }, [bytes]);
  }

  /** Say when Python is silent, and do not leave the camera on for nobody. */
  function watch(mine) {
    const silence = mine.sent ? performance.now() - mine.sent : 0;
    if (silence > LIMIT) end(SILENT);
    else if (silence > PATIENCE) {
      complain(BUSY);
      if (performance.now() - (mine.repeated ?? mine.sent) > AGAIN) {
        const since = mine.sent;
        mine.sent = 0;
        pump(mine);
        [mine.sent, mine.repeated] = [since, performance.now()];
      }
    }
  }

  async function answered(message, [jpeg]) {
    const mine = run?.id === message.session ? run : null, drawn = performance.now();
    if (message.session === ended || (mine && message.number !== mine.number)) return;
    const since = mine?.sent;
    if (mine) {
      if (drawn - since > PATIENCE) complain("");
      [mine.sent, mine.repeated] = [0, undefined];
      pump(mine); // the next one, while this one is decoded
    }
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    if (message.session === ended) return;
    if (screen.width !== bitmap.width || screen.height !== bitmap.height) {
      Object.assign(screen, { width: bitmap.width, height: bitmap.height });
    }
    screen.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    screen.dataset.drawn = message.number;
    if (mine && run === mine) tell(mine, performance.now() - since, message.faces);
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
    "msg:custom": received, "change:error": failed, "change:mirror": show, "change:overlay": show,
  };
  const unwatch = whenKernelGoes(model, lost);
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
