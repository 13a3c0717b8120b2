"use strict";
// The explorer of a report: reads the packed maps of the page and draws them over the image.
// All text from the data is set as text, never as markup.
(() => {
  const MISSING = 255, TOP_LEVEL = 254;
  const DRAWN_SIDE = 160;              // pixels across a drawn map; the canvas interpolates further
  const PLAY_INTERVAL = 180;           // milliseconds a step
  const CURSOR_STEP = 1 / 32;          // of the image, per arrow key
  const SERIES_COUNT = 6;              // colours of the page's palette
  const SLICE = 8;                     // numbers in the index for each map

  const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (v) => {
    if (!Number.isFinite(v)) return "–";
    if (v === 0) return "0";
    const size = Math.abs(v);
    const text = size < 1e-4 || size >= 1e5 ? v.toExponential(2) : v.toPrecision(3);
    return text.replace(/-/g, "−");
  };
  const time = (v) => (Number.isInteger(v) ? String(v) : number(v));
  const key = (word, site, head, step) => `${word},${site},${head},${step}`;

  // The maps of an image: each keeps its bytes and the values of its lowest and highest byte.
  function unpack(image) {
    const bytes = bytesOf(image.maps);
    const maps = new Map();
    let offset = 0;
    for (let i = 0; i < image.index.length; i += SLICE) {
      const [word, site, head, step, height, width, low, high] = image.index.slice(i, i + SLICE);
      const cells = bytes.subarray(offset, offset + height * width);
      maps.set(key(word, site, head, step), { height, width, low, high, cells });
      offset += height * width;
    }
    return maps;
  }

  const valueAt = (map, y, x) => {
    const level = map.cells[y * map.width + x];
    return level === MISSING ? NaN : map.low + (level / TOP_LEVEL) * (map.high - map.low);
  };

  // Bilinear in the values, then the colours; the same rule as the static figures.
  function paint(context, map, range, colors, opacity, faintest) {
    const picture = context.createImageData(DRAWN_SIDE, DRAWN_SIDE);
    const place = (count) => Array.from({ length: DRAWN_SIDE }, (_, i) => {
      const at = clamp(((i + 0.5) * count) / DRAWN_SIDE - 0.5, 0, count - 1);
      const below = Math.floor(at);
      return [below, Math.min(below + 1, count - 1), at - below];
    });
    const rows = place(map.height), columns = place(map.width);
    const span = range.high - range.low || 1;
    const mix = (a, b, share) => (share === 0 ? a : a + (b - a) * share);
    let out = 0;
    for (const [top, bottom, down] of rows) {
      for (const [left, right, across] of columns) {
        const upper = mix(valueAt(map, top, left), valueAt(map, top, right), across);
        const lower = mix(valueAt(map, bottom, left), valueAt(map, bottom, right), across);
        const value = mix(upper, lower, down);
        if (Number.isFinite(value)) {
          const share = clamp((value - range.low) / span, 0, 1);
          const color = Math.round(share * 255) * 3;
          picture.data.set(colors.subarray(color, color + 3), out);
          picture.data[out + 3] = 255 * opacity * (faintest + (1 - faintest) * share);
        }
        out += 4;
      }
    }
    context.putImageData(picture, 0, 0);
  }

  function start(root) {
    const part = (role) => root.querySelector(`[data-role="${role}"]`);
    const data = JSON.parse(part("data").textContent);
    const colors = bytesOf(data.colors);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)");
    const drawn = element("canvas");
    drawn.width = drawn.height = DRAWN_SIDE;
    const state = { image: 0, words: [0], site: 0, head: 0, place: 0, all: true, cursor: null, timer: 0 };
    let current, maps, singles, allIndex, photo, panels = [];

    const step = () => (state.all && allIndex >= 0 ? allIndex : singles[state.place] ?? 0);
    const mapOf = (word, at = step()) => maps.get(key(word, state.site, state.head, at));

    function options(select, names, hideSingle) {
      select.replaceChildren(...names.map((name, i) => {
        const option = element("option", "", name);
        option.value = i;
        return option;
      }));
      if (hideSingle) select.closest(".field").hidden = names.length < 2;
    }

    function openImage(index) {
      state.image = index;
      current = data.images[index];
      maps = unpack(current);
      singles = current.steps.flatMap((s, i) => (s === null ? [] : [i]));
      allIndex = current.steps.indexOf(null);
      state.all = allIndex >= 0;
      state.place = Math.max(0, singles.length - 1);
      state.site = state.head = 0;
      state.words = state.words.filter((w) => w < current.words.length);
      if (!state.words.length) state.words = [0];
      options(part("site"), current.sites, false);
      options(part("head"), current.heads, true);
      part("step").max = Math.max(0, singles.length - 1);
      part("all").checked = state.all;
      part("all").closest("label").hidden = allIndex < 0;
      part("outlines").closest("label").hidden = !current.outlines.length;
      part("words").replaceChildren(...current.words.map((word, i) => {
        const button = element("button", "", word);
        button.type = "button";
        button.addEventListener("click", () => toggle(i));
        return button;
      }));
      photo = new Image();
      photo.addEventListener("load", draw);
      photo.src = "data:image/png;base64," + current.png;
      build();
    }

    function toggle(word) {
      const chosen = state.words.includes(word)
        ? state.words.filter((w) => w !== word)
        : [...state.words, word].sort((a, b) => a - b);
      if (chosen.length) state.words = chosen;
      build();
    }

    // One panel for each chosen word.
    function build() {
      [...part("words").children].forEach((b, i) => b.setAttribute("aria-pressed", state.words.includes(i)));
      panels = state.words.map((word) => {
        const panel = element("div", "panel");
        const view = element("canvas", "view");
        view.tabIndex = 0;
        view.setAttribute("role", "img");
        const name = element("p", "name"), at = element("span", "at");
        const label = element("span"), swatch = element("span", "swatch");
        swatch.style.background = `var(--series-${word % SERIES_COUNT})`;
        label.append(swatch, current.words[word]);
        name.append(label, at);
        const bar = element("canvas", "bar");
        bar.width = 256;
        bar.height = 1;
        const ends = element("p", "ends");
        const low = element("span"), high = element("span");
        ends.append(low, high);
        panel.append(view, name, bar, ends);
        listen(view);
        return { panel, view, word, at, bar, low, high };
      });
      part("body").classList.toggle("one", panels.length === 1);
      part("stage").replaceChildren(...panels.map((p) => p.panel));
      draw();
    }

    function listen(view) {
      const point = (event) => {
        const box = view.getBoundingClientRect();
        state.cursor = [
          clamp((event.clientX - box.left) / box.width, 0, 0.9999),
          clamp((event.clientY - box.top) / box.height, 0, 0.9999),
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
          state.cursor = [x + move[0] * CURSOR_STEP, y + move[1] * CURSOR_STEP].map((v) => clamp(v, 0, 0.9999));
          draw();
          part("spoken").textContent = part("readout").textContent;
        } else if (event.key === " ") play();
        else if (event.key === ",") walk(-1);
        else if (event.key === ".") walk(1);
        else if (event.key === "Escape") { state.cursor = null; draw(); }
        else return;
        event.preventDefault();
      });
    }

    // The range of the colours for a word.
    function rangeOf(word) {
      const scale = part("scale").value;
      const words = scale === "shown" ? state.words : [word];
      const steps = scale === "steps" ? singles.concat(allIndex >= 0 ? allIndex : []) : [step()];
      const all = words.flatMap((w) => steps.map((s) => mapOf(w, s))).filter(Boolean);
      if (!all.length) return { low: 0, high: 1 };
      return { low: Math.min(...all.map((m) => m.low)), high: Math.max(...all.map((m) => m.high)) };
    }

    function drawPanel({ view, word, at, bar, low, high }) {
      const ratio = photo.naturalWidth ? photo.naturalHeight / photo.naturalWidth : 1;
      const width = Math.round(view.clientWidth * Math.min(window.devicePixelRatio || 1, 2)) || 300;
      const height = Math.max(1, Math.round(width * ratio));
      if (view.width !== width || view.height !== height) { view.width = width; view.height = height; }
      const context = view.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.clearRect(0, 0, width, height);
      if (photo.complete && photo.naturalWidth) context.drawImage(photo, 0, 0, width, height);
      const map = mapOf(word), range = rangeOf(word);
      if (map) {
        paint(drawn.getContext("2d"), map, range, colors, part("opacity").value / 100, data.faintest);
        context.drawImage(drawn, 0, 0, width, height);
      }
      if (part("outlines").checked) outline(context, width, height);
      cross(context, width, height);
      drawBar(bar);
      low.textContent = map ? number(range.low) : "no map was recorded here";
      high.textContent = map ? number(range.high) : "";
      bar.hidden = !map;
      at.textContent = state.cursor && map ? number(cellAt(map).value) : "";
      view.setAttribute("aria-label",
        `${data.quantity} of ${current.words[word]} over the image, ${current.sites[state.site]}, ${stepText()}`);
    }

    function outline(context, width, height) {
      for (const { loops } of current.outlines) {
        const path = new Path2D();
        for (const points of loops) {
          for (let i = 0; i < points.length; i += 2) {
            const x = (points[i] / 1000) * width, y = (points[i + 1] / 1000) * height;
            if (i) path.lineTo(x, y); else path.moveTo(x, y);
          }
          path.closePath();
        }
        context.lineJoin = "round";
        for (const [color, line] of [["#10141a", 0.011], ["#ffffff", 0.005]]) {
          context.strokeStyle = color;
          context.lineWidth = Math.max(1, line * width);
          context.stroke(path);
        }
      }
    }

    function cross(context, width, height) {
      if (!state.cursor) return;
      const [x, y] = [state.cursor[0] * width, state.cursor[1] * height];
      for (const [color, line] of [["#10141a", 3], ["#ffffff", 1.4]]) {
        context.strokeStyle = color;
        context.lineWidth = line;
        context.beginPath();
        context.arc(x, y, 7, 0, 2 * Math.PI);
        context.moveTo(x - 14, y); context.lineTo(x - 4, y);
        context.moveTo(x + 4, y); context.lineTo(x + 14, y);
        context.moveTo(x, y - 14); context.lineTo(x, y - 4);
        context.moveTo(x, y + 4); context.lineTo(x, y + 14);
        context.stroke();
      }
    }

    function drawBar(bar) {
      const context = bar.getContext("2d"), strip = context.createImageData(256, 1);
      for (let i = 0; i < 256; i++) {
        strip.data.set(colors.subarray(i * 3, i * 3 + 3), i * 4);
        strip.data[i * 4 + 3] = 255;
      }
      context.putImageData(strip, 0, 0);
    }

    const cellAt = (map) => {
      const x = Math.floor(state.cursor[0] * map.width), y = Math.floor(state.cursor[1] * map.height);
      return { x, y, value: valueAt(map, y, x) };
    };

    function stepText() {
      if (state.all && allIndex >= 0) return "all steps";
      const found = current.steps[singles[state.place]];
      return found ? `${found[0]}, t = ${time(found[1])}` : "none recorded";
    }

    function readout() {
      const map = mapOf(state.words[0]);
      if (!state.cursor || !map) { part("readout").textContent = ""; return; }
      const { x, y } = cellAt(map);
      const values = state.words.map((w) => {
        const found = mapOf(w);
        return `${current.words[w]} ${found ? number(cellAt(found).value) : "–"}`;
      });
      part("readout").textContent =
        `${data.quantity} in cell column ${x + 1} of ${map.width}, row ${y + 1} of ${map.height}: ${values.join(", ")}`;
    }

    // The value at the cursor (or the greatest value of the map) for every step.
    function trace() {
      const canvas = part("trace");
      canvas.hidden = part("trace-title").hidden = singles.length < 2;
      if (canvas.hidden) return;
      const scale = Math.min(window.devicePixelRatio || 1, 2);
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width) return;
      canvas.width = width * scale;
      canvas.height = height * scale;
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      const style = getComputedStyle(root);
      const ink = (name) => style.getPropertyValue(name).trim();
      const lines = state.words.map((word) => singles.map((s) => {
        const map = mapOf(word, s);
        if (!map) return NaN;
        return state.cursor ? cellAt(map).value : map.high;
      }));
      const known = lines.flat().filter(Number.isFinite);
      if (!known.length) return;
      const low = Math.min(0, ...known), high = Math.max(...known) || 1;
      const left = 2, right = width - 2, top = 6, bottom = height - 22;
      const at = (i) => left + (i / (singles.length - 1)) * (right - left);
      const rise = (v) => bottom - ((v - low) / (high - low || 1)) * (bottom - top);
      context.font = `12px ${style.fontFamily}`;
      context.fillStyle = ink("--quiet");
      const subject = state.cursor ? "at the cursor" : "at the strongest place of each map";
      part("trace-title").textContent = `${data.quantity} ${subject}, over the steps (${number(low)} to ${number(high)})`;
      context.strokeStyle = ink("--line");
      context.beginPath(); context.moveTo(left, bottom); context.lineTo(right, bottom); context.stroke();
      const label = (i) => `t = ${time(current.steps[singles[i]][1])}`;
      context.fillText(label(0), left, height - 6);
      context.textAlign = "right";
      context.fillText(label(singles.length - 1), right, height - 6);
      if (!state.all) {
        context.strokeStyle = ink("--accent");
        context.lineWidth = 1.5;
        context.beginPath(); context.moveTo(at(state.place), top - 4); context.lineTo(at(state.place), bottom); context.stroke();
      }
      lines.forEach((values, n) => {
        context.strokeStyle = ink(`--series-${state.words[n] % SERIES_COUNT}`);
        context.lineWidth = 2;
        context.beginPath();
        let open = false;
        values.forEach((v, i) => {
          if (!Number.isFinite(v)) { open = false; return; }
          if (open) context.lineTo(at(i), rise(v)); else context.moveTo(at(i), rise(v));
          open = true;
        });
        context.stroke();
      });
    }

    function draw() {
      part("step").value = state.place;
      part("step").disabled = state.all && singles.length < 1;
      part("step").setAttribute("aria-valuetext", stepText());
      part("step-text").textContent = stepText();
      part("all").checked = state.all && allIndex >= 0;
      panels.forEach(drawPanel);
      readout();
      trace();
    }

    function walk(by) {
      if (!singles.length) return;
      if (!state.all) state.place = (state.place + by + singles.length) % singles.length;
      state.all = false;
      draw();
    }

    function play() {
      const button = part("play");
      if (state.timer) {
        clearInterval(state.timer);
        state.timer = 0;
      } else if (singles.length > 1) {
        if (state.all || state.place === singles.length - 1) { state.all = false; state.place = 0; draw(); }
        state.timer = setInterval(() => walk(1), still.matches ? 4 * PLAY_INTERVAL : PLAY_INTERVAL);
      }
      button.textContent = state.timer ? "Pause" : "Play";
      button.setAttribute("aria-pressed", Boolean(state.timer));
    }

    options(part("image"), data.images.map((i) => i.title), true);
    part("image").addEventListener("change", (e) => openImage(Number(e.target.value)));
    part("site").addEventListener("change", (e) => { state.site = Number(e.target.value); draw(); });
    part("head").addEventListener("change", (e) => { state.head = Number(e.target.value); draw(); });
    part("scale").addEventListener("change", draw);
    part("opacity").addEventListener("input", draw);
    part("outlines").addEventListener("change", draw);
    part("all").addEventListener("change", (e) => { state.all = e.target.checked; draw(); });
    part("step").addEventListener("input", (e) => { state.place = Number(e.target.value); state.all = false; draw(); });
    part("play").addEventListener("click", play);
    window.addEventListener("resize", draw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    document.getElementById(root.dataset.explorer + "-note").className = "quiet on-paper";
    root.hidden = false;
    openImage(0);
  }

  document.querySelectorAll(".explorer").forEach(start);
})();
