// The explorer: what the reader chooses, and what is drawn of it. Side A is the image chosen
// first; side B, if any, is the one beside it, and shows the same word, layer, head and step.
const PLAY_INTERVAL = 180;           // milliseconds a step
const CURSOR_STEP = 1 / 32;          // of the image, per arrow key
const SERIES_COUNT = 6;              // colours of the page's palette
const EDGE = 0.9999;                 // the cursor stays inside the last cell
const DASH = [5, 4];                 // lines of side B
const TINT = 12, MOST_TINT = 36;     // percent of the accent in a cell of the matrix, per unit
const ALL_HEADS = 0;

// An image that is being looked at.
function open(data, index, redraw) {
  const image = data.images[index];
  const photo = new Image();
  photo.addEventListener("load", redraw);
  photo.src = "data:image/png;base64," + image.png;
  return {
    index, image, photo,
    maps: unpack(image),
    singles: image.steps.flatMap((s, i) => (s === null ? [] : [i])),
    all: image.steps.indexOf(null),
    regions: new Map(),
  };
}

// For each word of A the word of B that stands for it: the same word, else the one in its place
// among those that only one of the prompts has.
function counterparts(a, b) {
  const [ours, theirs] = [a.image.words, b.image.words];
  const onlyOurs = ours.filter((w) => !theirs.includes(w)), onlyTheirs = theirs.filter((w) => !ours.includes(w));
  return ours.map((word) => {
    const same = theirs.indexOf(word);
    return same >= 0 ? same : theirs.indexOf(onlyTheirs[onlyOurs.indexOf(word)]);
  });
}

function start(root) {
  const part = (role) => root.querySelector(`[data-role="${role}"]`);
  const data = JSON.parse(part("data").textContent);
  const colors = bytesOf(data.colors);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const drawn = element("canvas");
  drawn.width = drawn.height = DRAWN_SIDE;
  const state = { words: [0], site: 0, head: ALL_HEADS, place: 0, all: true, cursor: null, timer: 0 };
  let a, b = null, pairs = [], panels = [];

  const sides = () => (b ? [a, b] : [a]);
  const letter = (side) => (side === a ? "A" : "B");
  // Where a choice made for A is in a side; −1 where it is not.
  const wordIn = (side, word) => (side === a ? word : pairs[word] ?? -1);
  const named = (side, list, index) => (side === a ? index : side.image[list].indexOf(a.image[list][index]));
  function stepIn(side) {
    if (state.all && side.all >= 0) return side.all;
    const share = state.place / Math.max(1, a.singles.length - 1);
    return side.singles[Math.round(share * (side.singles.length - 1))] ?? side.all;
  }
  const mapAt = (side, word, step) =>
    side.maps.get(key(wordIn(side, word), named(side, "sites", state.site), named(side, "heads", state.head), step));
  const mapOf = (side, word) => mapAt(side, word, stepIn(side));

  function options(select, names, hideSingle) {
    select.replaceChildren(...names.map((name, i) => {
      const option = element("option", "", name);
      option.value = i;
      return option;
    }));
    if (hideSingle) select.closest(".field").hidden = names.length < 2;
  }

  function openImage(index) {
    a = open(data, index, draw);
    state.all = a.all >= 0;
    state.place = Math.max(0, a.singles.length - 1);
    state.site = 0;
    state.head = ALL_HEADS;
    state.words = state.words.filter((w) => w < a.image.words.length);
    if (!state.words.length) state.words = [0];
    options(part("site"), a.image.sites, false);
    options(part("head"), a.image.heads, true);
    part("step").max = Math.max(0, a.singles.length - 1);
    part("all").closest("label").hidden = a.all < 0;
    part("words").replaceChildren(...a.image.words.map((word, i) => {
      const button = element("button", "", word);
      button.type = "button";
      button.addEventListener("click", () => toggle(i));
      return button;
    }));
    const others = data.images.map((image, i) => [image.title, i]).filter(([, i]) => i !== index);
    options(part("other"), ["nothing", ...others.map(([title]) => title)], true);
    [...part("other").options].forEach((option, i) => { option.value = i ? others[i - 1][1] : ""; });
    openOther(b && b.index !== index ? b.index : null);
  }

  function openOther(index) {
    b = index === null ? null : open(data, index, draw);
    pairs = b ? counterparts(a, b) : [];
    part("other").value = b ? b.index : "";
    part("outlines").closest("label").hidden = sides().every((side) => !side.image.outlines.length);
    part("sides").hidden = !b;
    part("sides").textContent = b ? `A: ${a.image.title}. B: ${b.image.title}. Both share their colours.` : "";
    buildFilms();
    build();
  }

  function toggle(word) {
    const chosen = state.words.includes(word)
      ? state.words.filter((w) => w !== word)
      : [...state.words, word].sort((x, y) => x - y);
    if (chosen.length) state.words = chosen;
    build();
  }

  // One panel for each chosen word and side.
  function build() {
    [...part("words").children].forEach((button, i) => button.setAttribute("aria-pressed", state.words.includes(i)));
    panels = state.words.flatMap((word) => sides().map((side) => panelOf(side, word)));
    part("body").classList.toggle("one", panels.length === 1);
    part("stage").classList.toggle("pairs", Boolean(b));
    part("stage").replaceChildren(...panels.map((p) => p.panel));
    draw();
  }

  function panelOf(side, word) {
    const panel = element("div", "panel");
    const view = element("canvas", "view");
    view.tabIndex = 0;
    view.setAttribute("role", "img");
    const name = element("p", "name"), at = element("span", "at");
    const label = element("span"), swatch = element("span", "swatch");
    swatch.style.background = `var(--series-${word % SERIES_COUNT})`;
    const there = side.image.words[wordIn(side, word)];
    label.append(swatch, there ?? `no ${a.image.words[word]}`, b ? element("span", "side", letter(side)) : "");
    name.append(label, at);
    const bar = element("canvas", "bar");
    bar.width = 256;
    bar.height = 1;
    const ends = element("p", "ends");
    const low = element("span"), high = element("span");
    ends.append(low, high);
    panel.append(view, name, bar, ends);
    listen(view);
    return { side, panel, view, word, at, bar, low, high };
  }

  // What the model would draw at single steps; a frame is a button that goes to its step.
  function buildFilms() {
    const films = sides().filter((side) => side.image.film.length);
    part("films").replaceChildren(...films.map((side) => {
      const film = element("div", "film");
      film.setAttribute("role", "group");
      film.setAttribute("aria-label", `What the model would draw at single steps${b ? ", " + letter(side) : ""}`);
      side.frames = side.image.film.map((frame) => {
        const button = element("button", "frame"), picture = element("img");
        const place = side.singles.findIndex((s) => side.image.steps[s][0] >= frame.step);
        const found = side.image.steps[side.singles[place]];
        button.type = "button";
        picture.src = "data:image/png;base64," + frame.png;
        picture.alt = "";
        button.append(picture, element("span", "", found ? `t = ${time(found[1])}` : `step ${frame.step}`));
        button.addEventListener("click", () => {
          const share = Math.max(0, place) / Math.max(1, side.singles.length - 1);
          goTo(Math.round(share * (a.singles.length - 1)));
        });
        film.append(button);
        return { button, step: frame.step };
      });
      return film;
    }));
    part("films").hidden = part("films-title").hidden = !films.length;
  }

  function markFrames() {
    for (const side of sides().filter((s) => s.frames && s.image.film.length)) {
      const now = side.image.steps[stepIn(side)];
      const past = now ? side.frames.filter((frame) => frame.step <= now[0]) : [];
      const current = past[past.length - 1];
      side.frames.forEach((frame) => frame.button.setAttribute("aria-pressed", frame === current));
    }
  }

  function listen(view) {
    const point = (event) => {
      const box = view.getBoundingClientRect();
      state.cursor = [
        clamp((event.clientX - box.left) / box.width, 0, EDGE),
        clamp((event.clientY - box.top) / box.height, 0, EDGE),
      ];
      draw();
    };
    view.addEventListener("pointermove", point);
    view.addEventListener("pointerdown", point);
    view.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") { state.cursor = null; draw(); }
    });
    view.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const move = moves[event.key];
      if (move) {
        const [x, y] = state.cursor ?? [0.5, 0.5];
        state.cursor = [x + move[0] * CURSOR_STEP, y + move[1] * CURSOR_STEP].map((v) => clamp(v, 0, EDGE));
        draw();
        speak(part("readout").textContent);
      } else if (event.key === " ") play();
      else if (event.key === ",") { walk(-1); speak(stepText(a)); }
      else if (event.key === ".") { walk(1); speak(stepText(a)); }
      else if (event.key === "Escape") { state.cursor = null; draw(); }
      else return;
      event.preventDefault();
    });
  }

  const speak = (text) => { part("spoken").textContent = text; };

  // The range of the colours for a word, the same on both sides.
  function rangeOf(word) {
    const scale = part("scale").value;
    const words = scale === "shown" ? state.words : [word];
    const steps = (side) => (scale === "steps" ? side.singles.concat(side.all >= 0 ? side.all : []) : [stepIn(side)]);
    const all = sides()
      .flatMap((side) => words.flatMap((w) => steps(side).map((s) => mapAt(side, w, s))))
      .filter(Boolean);
    if (!all.length) return { low: 0, high: 1 };
    return { low: Math.min(...all.map((m) => m.low)), high: Math.max(...all.map((m) => m.high)) };
  }

  function drawPanel({ side, view, word, at, bar, low, high }) {
    const photo = side.photo;
    const ratio = photo.naturalWidth ? photo.naturalHeight / photo.naturalWidth : 1;
    const width = Math.round(view.clientWidth * sharpness()) || 300;
    const height = Math.max(1, Math.round(width * ratio));
    if (view.width !== width || view.height !== height) { view.width = width; view.height = height; }
    const context = view.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, width, height);
    if (photo.complete && photo.naturalWidth) context.drawImage(photo, 0, 0, width, height);
    const map = mapOf(side, word), range = rangeOf(word);
    if (map) {
      paint(drawn.getContext("2d"), map, range, colors, part("opacity").value / 100, data.faintest);
      context.drawImage(drawn, 0, 0, width, height);
    }
    if (part("outlines").checked) outline(context, side.image.outlines, width, height);
    if (state.cursor) cross(context, state.cursor, width, height);
    drawBar(bar, colors);
    low.textContent = map ? number(range.low) : "no map was recorded here";
    high.textContent = map ? number(range.high) : "";
    bar.hidden = !map;
    at.textContent = state.cursor && map ? number(cellAt(map).value) : "";
    const shown = side.image.words[wordIn(side, word)] ?? a.image.words[word];
    view.setAttribute("aria-label",
      `${data.quantity} of ${shown} over the image${b ? " " + letter(side) : ""}, ${a.image.sites[state.site]}, ${stepText(side)}`);
  }

  const cellAt = (map) => {
    const x = Math.floor(state.cursor[0] * map.width), y = Math.floor(state.cursor[1] * map.height);
    return { x, y, value: valueAt(map, y, x) };
  };

  function stepText(side) {
    const found = side.image.steps[stepIn(side)];
    if (found === null) return "all steps";
    return found ? `${found[0]}, t = ${time(found[1])}` : "none recorded";
  }

  function readout() {
    const map = mapOf(a, state.words[0]);
    if (!state.cursor || !map) { part("readout").textContent = ""; return; }
    const { x, y } = cellAt(map);
    const values = state.words.flatMap((w) => sides().map((side) => {
      const found = mapOf(side, w), word = side.image.words[wordIn(side, w)] ?? a.image.words[w];
      return `${word}${b ? " " + letter(side) : ""} ${found ? number(cellAt(found).value) : "–"}`;
    }));
    part("readout").textContent =
      `${data.quantity} in cell column ${x + 1} of ${map.width}, row ${y + 1} of ${map.height}: ${values.join(", ")}`;
  }

  // The value at the cursor (or the greatest value of the map) for every step; B is dashed.
  function trace() {
    const canvas = part("trace");
    canvas.hidden = part("trace-title").hidden = a.singles.length < 2;
    if (canvas.hidden) return;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * sharpness();
    canvas.height = height * sharpness();
    const context = canvas.getContext("2d");
    context.scale(sharpness(), sharpness());
    const style = getComputedStyle(root);
    const ink = (name) => style.getPropertyValue(name).trim();
    const lines = sides().flatMap((side) => state.words.map((word) => ({
      side, word,
      values: side.singles.map((s) => {
        const map = mapAt(side, word, s);
        if (!map) return NaN;
        return state.cursor ? cellAt(map).value : map.high;
      }),
    })));
    const known = lines.flatMap((line) => line.values).filter(Number.isFinite);
    const subject = state.cursor ? "at the cursor" : "at the strongest place of each map";
    part("trace-title").textContent = known.length
      ? `${data.quantity} ${subject}, over the steps (${number(Math.min(0, ...known))} to ${number(Math.max(...known))})${b ? "; B is dashed" : ""}`
      : "Single steps were not recorded here.";
    if (!known.length) return;
    const low = Math.min(0, ...known), high = Math.max(...known) || 1;
    const left = 2, right = width - 2, top = 6, bottom = height - 22;
    const at = (i, of) => left + (i / Math.max(1, of - 1)) * (right - left);
    const rise = (v) => bottom - ((v - low) / (high - low || 1)) * (bottom - top);
    context.font = `12px ${style.fontFamily}`;
    context.fillStyle = ink("--quiet");
    context.strokeStyle = ink("--line");
    context.beginPath(); context.moveTo(left, bottom); context.lineTo(right, bottom); context.stroke();
    const label = (i) => `t = ${time(a.image.steps[a.singles[i]][1])}`;
    context.fillText(label(0), left, height - 6);
    context.textAlign = "right";
    context.fillText(label(a.singles.length - 1), right, height - 6);
    if (!state.all) {
      const x = at(state.place, a.singles.length);
      context.strokeStyle = ink("--accent");
      context.lineWidth = 1.5;
      context.beginPath(); context.moveTo(x, top - 4); context.lineTo(x, bottom); context.stroke();
    }
    for (const { side, word, values } of lines) {
      context.strokeStyle = ink(`--series-${word % SERIES_COUNT}`);
      context.lineWidth = 2;
      context.setLineDash(side === a ? [] : DASH);
      context.beginPath();
      let joined = false;
      values.forEach((v, i) => {
        if (!Number.isFinite(v)) { joined = false; return; }
        if (joined) context.lineTo(at(i, values.length), rise(v)); else context.moveTo(at(i, values.length), rise(v));
        joined = true;
      });
      context.stroke();
    }
  }

  // How much of each word lies on each region, in the maps that are shown.
  function matrix() {
    const shown = sides().filter((side) => side.image.outlines.length);
    part("matrix").hidden = part("matrix-title").hidden = !shown.length;
    part("matrix").replaceChildren(...shown.map(matrixOf));
  }

  function matrixOf(side) {
    const table = element("table"), head = element("tr"), body = element("tbody");
    const corner = element("th", "", b ? letter(side) : "word");
    corner.scope = "col";
    head.append(corner, ...side.image.outlines.map(({ label }) => {
      const cell = element("th", "n", label);
      cell.scope = "col";
      return cell;
    }));
    a.image.words.forEach((word, w) => {
      const map = mapOf(side, w), row = element("tr");
      const name = element("th", "", side.image.words[wordIn(side, w)] ?? `no ${word}`);
      name.scope = "row";
      row.append(name, ...side.image.outlines.map((region, i) => {
        const ratio = map ? massRatio(map, sharesOf(side, i, map)) : NaN;
        const cell = element("td", "n", Number.isFinite(ratio) ? ratio.toFixed(2) : "–");
        const tint = Number.isFinite(ratio) ? Math.min(MOST_TINT, ratio * TINT) : 0;
        cell.style.background = `color-mix(in srgb, var(--accent) ${tint}%, transparent)`;
        return cell;
      }));
      body.append(row);
    });
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    return table;
  }

  function sharesOf(side, region, map) {
    const size = `${region},${map.width},${map.height}`;
    if (!side.regions.has(size)) {
      side.regions.set(size, coverage(drawn.getContext("2d"), side.image.outlines[region].loops, map));
    }
    return side.regions.get(size);
  }

  function draw() {
    part("step").value = state.place;
    part("step").setAttribute("aria-valuetext", stepText(a));
    part("step-text").textContent = stepText(a);
    part("all").checked = state.all && a.all >= 0;
    part("site").value = state.site;
    part("head").value = state.head;
    panels.forEach(drawPanel);
    markFrames();
    readout();
    trace();
    matrix();
  }

  // Single heads are kept of single layers and for all steps together, means over heads of all
  // layers and for single steps too: what was chosen last stays, the others give way.
  const isKept = () => state.words.some((word) => mapOf(a, word));
  function goTo(place) {
    state.place = place;
    state.all = false;
    if (!isKept()) state.head = ALL_HEADS;
    draw();
  }
  function chooseHead(head) {
    state.head = head;
    if (!isKept() && a.all >= 0) state.all = true;
    if (!isKept()) state.site = siteWith(state.head);
    draw();
  }
  function chooseSite(site) {
    state.site = site;
    if (!isKept()) state.head = ALL_HEADS;
    draw();
  }
  // The first site whose map of a head is kept; the one that is shown, if none has it.
  function siteWith(head) {
    const found = a.image.sites.findIndex((_, site) =>
      state.words.some((word) => a.maps.has(key(word, site, head, stepIn(a)))));
    return found >= 0 ? found : state.site;
  }

  function walk(by) {
    const count = a.singles.length;
    if (count) goTo(state.all ? state.place : (state.place + by + count) % count);
  }

  function play() {
    const button = part("play");
    if (state.timer) {
      clearInterval(state.timer);
      state.timer = 0;
    } else if (a.singles.length > 1) {
      if (state.all || state.place === a.singles.length - 1) goTo(0);
      state.timer = setInterval(() => walk(1), still.matches ? 4 * PLAY_INTERVAL : PLAY_INTERVAL);
    }
    button.textContent = state.timer ? "Pause" : "Play";
    button.setAttribute("aria-pressed", Boolean(state.timer));
  }

  options(part("image"), data.images.map((i) => i.title), true);
  part("image").addEventListener("change", (e) => openImage(Number(e.target.value)));
  part("other").addEventListener("change", (e) => openOther(e.target.value === "" ? null : Number(e.target.value)));
  part("site").addEventListener("change", (e) => chooseSite(Number(e.target.value)));
  part("head").addEventListener("change", (e) => chooseHead(Number(e.target.value)));
  part("scale").addEventListener("change", draw);
  part("opacity").addEventListener("input", draw);
  part("outlines").addEventListener("change", draw);
  part("all").addEventListener("change", (e) => { state.all = e.target.checked; if (state.all) draw(); else goTo(state.place); });
  part("step").addEventListener("input", (e) => goTo(Number(e.target.value)));
  part("play").addEventListener("click", play);
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.getElementById(root.dataset.explorer + "-note").className = "quiet on-paper";
  root.hidden = false;
  openImage(0);
}

// The page is there to read before the maps are unpacked.
window.addEventListener("load", () => setTimeout(() => document.querySelectorAll(".explorer").forEach(start)));
