// Drawing: maps, outlines and the cursor over an image. All text from the data is set as text,
// never as markup.
const MISSING = 255, TOP_LEVEL = 254;
const DRAWN_SIDE = 160;              // pixels across a drawn map; the canvas interpolates further
const SLICE = 8;                     // numbers in the index for each map
const THOUSAND = 1000;               // outlines are in thousandths of the image
const SHARPEST = 2;                  // device pixels a CSS pixel that are worth drawing
const SAMPLES = 4;                   // points a side of a cell when a region is measured

const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const sharpness = () => Math.min(window.devicePixelRatio || 1, SHARPEST);
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

// The border of a region as a path in a box of this size.
function pathOf(loops, width, height) {
  const path = new Path2D();
  for (const points of loops) {
    for (let i = 0; i < points.length; i += 2) {
      const x = (points[i] / THOUSAND) * width, y = (points[i + 1] / THOUSAND) * height;
      if (i) path.lineTo(x, y); else path.moveTo(x, y);
    }
    path.closePath();
  }
  return path;
}

function outline(context, outlines, width, height) {
  context.lineJoin = "round";
  for (const { loops } of outlines) {
    const path = pathOf(loops, width, height);
    for (const [color, line] of [["#10141a", 0.011], ["#ffffff", 0.005]]) {
      context.strokeStyle = color;
      context.lineWidth = Math.max(1, line * width);
      context.stroke(path);
    }
  }
}

function cross(context, [across, down], width, height) {
  const [x, y] = [across * width, down * height];
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

function drawBar(bar, colors) {
  const context = bar.getContext("2d"), strip = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    strip.data.set(colors.subarray(i * 3, i * 3 + 3), i * 4);
    strip.data[i * 4 + 3] = 255;
  }
  context.putImageData(strip, 0, 0);
}

// The share of each cell of a map that lies in a region.
function coverage(context, loops, map) {
  const path = pathOf(loops, map.width, map.height);
  const shares = new Float32Array(map.width * map.height);
  for (let i = 0; i < shares.length; i++) {
    const x = i % map.width, y = Math.floor(i / map.width);
    for (let s = 0; s < SAMPLES * SAMPLES; s++) {
      const across = x + ((s % SAMPLES) + 0.5) / SAMPLES, down = y + (Math.floor(s / SAMPLES) + 0.5) / SAMPLES;
      if (context.isPointInPath(path, across, down, "evenodd")) shares[i] += 1 / (SAMPLES * SAMPLES);
    }
  }
  return shares;
}

// A region's share of a map's mass over its share of the area: 1 is chance.
function massRatio(map, shares) {
  let inside = 0, mass = 0, area = 0;
  for (let i = 0; i < shares.length; i++) {
    const value = valueAt(map, Math.floor(i / map.width), i % map.width);
    if (!Number.isFinite(value)) continue;
    inside += value * shares[i];
    mass += value;
    area += shares[i];
  }
  return mass > 0 && area > 0 ? (inside / mass) / (area / shares.length) : NaN;
}
