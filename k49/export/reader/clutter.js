// Ink that is no part of a character: what k49/pictures/clutter.py does, line by line, with its constants.

function removeClutter(strokes, darkness = null) {
  let names = [];
  if (darkness) [strokes, names] = withoutFaint(byComponents(strokes).mask, darkness);
  const kept = byComponents(strokes, RULES);
  return {mask: kept.mask, names: [...names, ...kept.names]};
}

function withoutThin(strokes) {
  return byComponents(strokes, [["", withoutEdges], ["", withoutHairlines]]).mask;
}

function byComponents(strokes, rules = []) {
  let parts = largeEnough(components(strokes));
  const names = [];
  for (const [name, rule] of rules) {
    const remaining = rule(parts, strokes);
    if (remaining.length < parts.length) names.push(name);
    parts = largeEnough(remaining);
  }
  const mask = {...strokes, values: new Uint8Array(strokes.values.length)};
  for (const {inside, top, left} of parts) {
    inside.values.forEach((value, i) => {
      if (value) mask.values[(top + Math.floor(i / inside.width)) * mask.width + left + (i % inside.width)] = 1;
    });
  }
  return {mask, names};
}

// Connected strokes, by the eight neighbours, or the four that share a side, each with a mask in its box.
function components({height, width, values}, corners = true) {
  const labels = new Int32Array(values.length), parts = [];
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const label = parts.length + 1, pixels = [start];
    labels[start] = label;
    let [top, bottom, left, right] = [height, 0, width, 0];
    for (let k = 0; k < pixels.length; k++) {
      const at = pixels[k], y = Math.floor(at / width), x = at % width;
      [top, bottom, left, right] = [Math.min(top, y), Math.max(bottom, y + 1), Math.min(left, x), Math.max(right, x + 1)];
      for (let r = Math.max(y - 1, 0); r <= Math.min(y + 1, height - 1); r++) {
        for (let c = Math.max(x - 1, 0); c <= Math.min(x + 1, width - 1); c++) {
          const next = r * width + c;
          if (values[next] && !labels[next] && (corners || r === y || c === x)) {
            labels[next] = label;
            pixels.push(next);
          }
        }
      }
    }
    const wide = right - left, inside = {height: bottom - top, width: wide, values: new Uint8Array((bottom - top) * wide)};
    for (const at of pixels) inside.values[(Math.floor(at / width) - top) * wide + (at % width) - left] = 1;
    const sides = (top === 0) + (bottom === height) + (left === 0) + (right === width);
    parts.push({inside, top, bottom, left, right, sides, area: pixels.length, extent: Math.max(bottom - top, wide)});
  }
  return parts;
}

const largest = (parts) => parts.reduce((a, b) => (b.area > a.area ? b : a));
const areaOf = (parts) => parts.reduce((sum, {area}) => sum + area, 0);
const encloses = (a, b) => a.top < b.top && a.left < b.left && a.bottom > b.bottom && a.right > b.right;

function largeEnough(parts) {
  const least = Math.max(SPECK * parts.reduce((most, {area}) => Math.max(most, area), 0), 3);
  return parts.filter(({area}) => area >= least);
}

function extentOf(mask) {
  const {top, bottom, left, right} = bounds(mask);
  return Math.max(bottom - top, right - left, 0);
}

function thickness({inside, area}) {
  const {height, width, values} = inside;
  let outline = 0;
  const ink = (y, x) => y >= 0 && y < height && x >= 0 && x < width && values[y * width + x];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (values[i] && !(ink(y - 1, x) && ink(y + 1, x) && ink(y, x - 1) && ink(y, x + 1))) outline++;
    }
  }
  return 2 * area / outline;
}

// --- lines from edge to edge ---

function withoutLines(strokes) {
  const half = halved(strokes), kept = {...strokes, values: strokes.values.slice()};
  for (const [slope, first, last] of uprightLines(half)) eraseLine(strokes, kept, slope, 2 * first, 2 * last);
  const turned = transposed(strokes), turnedKept = transposed(kept);
  for (const [slope, first, last] of uprightLines(transposed(half))) eraseLine(turned, turnedKept, slope, 2 * first, 2 * last);
  const result = transposed(turnedKept);
  const same = result.values.every((value, i) => value === strokes.values[i]);
  if (same || extentOf(result) < REMAINS * Math.max(strokes.height, strokes.width)) return [strokes, []];
  return [result, ["ruled lines"]];
}

function halved({height, width, values}) {
  const [high, wide] = [height >> 1, width >> 1], half = new Uint8Array(high * wide);
  for (let y = 0; y < 2 * high; y++) for (let x = 0; x < 2 * wide; x++) half[(y >> 1) * wide + (x >> 1)] |= values[y * width + x];
  return {height: high, width: wide, values: half};
}

function uprightLines({height, width, values}) {
  const xs = [], ys = [];
  values.forEach((value, i) => value && (ys.push(Math.floor(i / width)), xs.push(i % width)));
  const thin = Math.max(THIN * Math.max(height, width), 2), reach = Math.ceil(MOST_SLOPE * height / 2) + 1;
  const slopes = Array.from({length: SLOPES}, (_, i) => (i === SLOPES - 1 ? MOST_SLOPE : -MOST_SLOPE + i * (2 * MOST_SLOPE / (SLOPES - 1))));
  const places = slopes.map((slope) => { // of each pixel, on a line of that slope
    const shifts = Int32Array.from({length: height}, (_, y) => reach - roundEven(slope * (y - height / 2)));
    return Int32Array.from(xs, (x, k) => x + shifts[ys[k]]);
  });
  const ink = places.map((place) => {
    const counts = new Float64Array(width + 2 * reach);
    for (let k = 0; k < place.length; k++) counts[place[k]]++;
    return counts.map((count) => count / height);
  });
  const lines = [];
  for (;;) {
    let [best, which, at] = [-1, 0, 0];
    ink.forEach((row, s) => row.forEach((value, x) => value > best && ([best, which, at] = [value, s, x])));
    if (best < LONG) return lines;
    const row = ink[which], slope = slopes[which];
    let first = at, last = at + 1;
    while (first > 0 && row[first - 1] > best / 2) first--;
    while (last < row.length && row[last] > best / 2) last++;
    const from = Math.max(first - roundEven(thin), 0), to = last + roundEven(thin);
    const beside = [...row.subarray(from, Math.max(first - 1, 0)), ...row.subarray(last + 1, to)];
    let [top, bottom] = [height, -1];
    for (let k = 0; k < xs.length; k++) {
      const at = places[which][k];
      if (at >= first && at < last) [top, bottom] = [Math.min(top, ys[k]), Math.max(bottom, ys[k])];
    }
    const toEdges = top <= ENDS * height && bottom >= (1 - ENDS) * height - 1;
    const clear = !beside.length || mean(beside) < CLEAR * best;
    if (last - first <= thin && toEdges && clear) lines.push([slope, first - reach, last - reach]);
    for (const row of ink) row.fill(0, from, to);
  }
}

function eraseLine({height, width, values}, kept, slope, first, last) {
  for (let y = 0; y < height; y++) {
    const shift = roundEven(slope * (y - height / 2)), start = first + shift - 1, stop = last + shift + 1, row = y * width;
    const crossing = start >= 2 && stop + 2 <= width && [start - 2, start - 1, stop, stop + 1].every((x) => values[row + x]);
    if (!crossing) kept.values.fill(0, row + Math.min(Math.max(start, 0), width), row + Math.min(Math.max(stop, 0), width));
  }
}

// --- faint strokes ---

function withoutFaint(strokes, darkness) {
  const {height, width, values} = strokes, dark = darkness.values;
  const around = transposed(highest(transposed(highest(darkness, 2, 2)), 2, 2)).values;
  const middle = [];
  values.forEach((value, i) => value && Math.fround(dark[i]) >= around[i] && middle.push(i));
  const shades = middle.map((i) => dark[i]);
  const [low, high] = [shades.reduce((a, b) => Math.min(a, b), Infinity), shades.reduce((a, b) => Math.max(a, b), -Infinity)];
  if (shades.length < 10 || high - low < 1e-6) return [strokes, []];
  const threshold = otsu(shades, low, high), faint = shades.filter((value) => value <= threshold);
  const others = shades.filter((value) => value > threshold), part = faint.length / shades.length;
  const [weak, strong] = [mean(faint), mean(others)];
  const between = part * (1 - part) * (strong - weak) ** 2 / deviation(shades) ** 2;
  if (!(between >= TWO_KINDS) || weak > FAINT * strong || part < FAINT_SHARE) return [strokes, []];
  const rows = runLengths(strokes).values, columns = transposed(runLengths(transposed(strokes))).values;
  const widthOf = (chosen) => mean(middle.filter((i) => chosen(dark[i])).map((i) => Math.min(rows[i], columns[i])));
  const ratio = widthOf((value) => value <= threshold) / widthOf((value) => value > threshold);
  if (HAIR < ratio && ratio < BROAD) return [strokes, []];
  const least = weak + ABOVE_FAINT * (strong - weak), kept = values.map((value, i) => (value && dark[i] > least ? 1 : 0));
  const inner = (i) => i % width && (i + 1) % width && i >= width && i < kept.length - width;
  const edge = [...kept.keys()].filter((i) => kept[i]
    && !(inner(i) && kept[i - 1] && kept[i + 1] && kept[i - width] && kept[i + width]));
  const steep = edge.map((i) => gradient(darkness, i));
  if (!edge.length || percentiles(steep, [0.5])[0] * Math.max(height, width) < STEEP * strong) return [strokes, []];
  const count = (mask) => mask.reduce((a, b) => a + b, 0);
  return count(kept) >= LEFT * count(values) ? [{height, width, values: kept}, ["faint strokes"]] : [strokes, []];
}

// Otsu's threshold, of 256 steps.
function otsu(values, low, high) {
  const counts = new Float64Array(256), centre = (k) => low + (k + 0.5) * (high - low) / 256;
  for (const value of values) counts[Math.min(Math.floor((value - low) / (high - low) * 256), 255)]++;
  const total = counts.reduce((sum, count, k) => sum + count * centre(k), 0);
  let [best, threshold, below, sum] = [-1, low, 0, 0];
  for (let k = 0; k < 255; k++) {
    below += counts[k];
    sum += counts[k] * centre(k);
    const above = values.length - below;
    const variance = below && above ? below * above * (sum / below - (total - sum) / above) ** 2 : 0;
    if (variance > best) [best, threshold] = [variance, centre(k)];
  }
  return threshold;
}

// How many pixels of its row each one of a mask is connected with.
function runLengths({height, width, values}) {
  const lengths = new Int32Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let end = x;
      while (end < width && values[y * width + end]) end++;
      lengths.fill(end - x, y * width + x, y * width + end);
      x = end;
    }
  }
  return {height, width, values: lengths};
}

// --- components by place and shape ---

function inner(parts, shape) {
  const clear = parts.filter(({sides}) => !sides), longest = clear.reduce((most, {extent}) => Math.max(most, extent), 0);
  return longest >= REMAINS * Math.max(shape.height, shape.width) ? clear : [];
}

function withoutEdges(parts, shape) {
  return inner(parts, shape).length ? parts.filter((part) => !(part.sides && isEdge(part, shape))) : parts;
}

function isEdge({inside, top, bottom, left, right, area}, {height, width}) {
  const ink = (box) => cut(inside, box).values.reduce((a, b) => a + b, 0), {height: high, width: wide} = inside;
  const along = Math.max(
    (top === 0) * ink({top: 0, bottom: 1, left: 0, right: wide}) / width,
    (bottom === height) * ink({top: high - 1, bottom: high, left: 0, right: wide}) / width,
    (left === 0) * ink({top: 0, bottom: high, left: 0, right: 1}) / height,
    (right === width) * ink({top: 0, bottom: high, left: wide - 1, right: wide}) / height,
  );
  const deep = roundEven(EDGE * Math.min(height, width)), clip = (place, length) => Math.min(Math.max(place, 0), length);
  const middle = {top: clip(deep - top, high), bottom: clip(height - deep - top, high), left: clip(deep - left, wide)};
  middle.right = clip(width - deep - left, wide);
  const empty = middle.bottom <= middle.top || middle.right <= middle.left;
  if (along >= ALONG && (empty ? 0 : ink(middle)) < 0.1 * area) return true;
  const side = Math.max(height, width);
  return area >= (side / SOLID) ** 2 && isThick(inside, Math.max(Math.floor(side / (8 * SOLID)), 1));
}

// Whether anything of a mask, at a quarter of its size, is left when so many pixels are taken away all around.
function isThick({height, width, values}, times) {
  let [high, wide] = [Math.ceil(height / 4), Math.ceil(width / 4)], small = new Uint8Array(high * wide);
  for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) small[y * wide + x] = values[4 * y * width + 4 * x];
  for (let time = 0; time < times; time++) {
    const before = small;
    small = before.map((value, i) => {
      const y = Math.floor(i / wide), x = i % wide;
      for (let r = Math.max(y - 1, 0); value && r <= Math.min(y + 1, high - 1); r++) {
        for (let c = Math.max(x - 1, 0); value && c <= Math.min(x + 1, wide - 1); c++) value = before[r * wide + c];
      }
      return value;
    });
  }
  return small.includes(1);
}

function withoutFrames(parts) {
  let kept = parts.slice();
  for (const part of parts.slice().sort((a, b) => b.extent - a.extent)) {
    const rest = kept.filter((other) => other !== part), inside = largeEnough(rest.filter((other) => encloses(part, other)));
    if (inside.length && 2 * areaOf(inside) >= areaOf(rest) && isFrame(part, inside)) kept = rest;
  }
  return kept;
}

function isFrame(part, inside) {
  const box = boxOf(inside), extent = Math.max(box.bottom - box.top, box.right - box.left), {values, width, height} = part.inside;
  const [top, bottom, left, right] = [box.top - part.top, box.bottom - part.top, box.left - part.left, box.right - part.left];
  const any = (y0, y1, x0, x1) => {
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (values[y * width + x]) return true;
    return false;
  };
  if (any(top, bottom, left, right) || extent < INSIDE * part.extent) return false;
  const columns = Array.from({length: right - left}, (_, i) => left + i), rows = Array.from({length: bottom - top}, (_, i) => top + i);
  const share = (places, has) => places.filter(has).length / places.length;
  const least = Math.min(
    share(columns, (x) => any(0, top, x, x + 1)), share(columns, (x) => any(bottom, height, x, x + 1)),
    share(rows, (y) => any(y, y + 1, 0, left)), share(rows, (y) => any(y, y + 1, right, width)),
  );
  if (least < SURROUNDS) return false;
  return part.sides > 0 || thickness(part) <= FRAME_STROKE * thickness(largest(inside)) || extent <= FRAME_CLEAR * part.extent;
}

function withoutHairlines(parts, shape) {
  if (parts.length < 2) return parts;
  const main = largest(parts), thin = HAIRLINE * thickness(main);
  const isLine = (part) => {
    const straight = Math.min(part.inside.height, part.inside.width) <= STRAIGHT * part.extent;
    return (straight && part.extent >= REMAINS * Math.max(shape.height, shape.width)) || encloses(part, main);
  };
  return parts.filter((part) => part === main || thickness(part) > thin || !isLine(part));
}

function withoutFragments(parts, shape) {
  const clear = inner(parts, shape), touching = areaOf(parts.filter(({sides}) => sides));
  return clear.length && touching <= FRAGMENTS * areaOf(clear) ? clear : parts;
}

function withoutMarks(parts) {
  if (!parts.length) return parts;
  const near = groups(parts, AWAY * largest(parts).extent), boxes = near.map(boxOf);
  const least = MARK * parts.reduce((most, {extent}) => Math.max(most, extent), 0);
  const large = boxes.map(({top, bottom, left, right}) => Math.max(bottom - top, right - left) >= least);
  const outer = boxOf(near.filter((_, i) => large[i]).flat());
  const within = (low, high, first, last) => first <= (low + high) / 2 && (low + high) / 2 <= last;
  const among = ({top, bottom, left, right}) => within(top, bottom, outer.top, outer.bottom) && within(left, right, outer.left, outer.right);
  const kept = near.filter((_, i) => large[i] || among(boxes[i])).flat();
  return areaOf(kept) >= (1 - MOST_MARKS) * areaOf(parts) ? kept : parts;
}

function groups(parts, gap) {
  let result = [];
  for (const part of parts) {
    const near = result.filter((group) => group.some((other) => distance(part, other) <= gap));
    result = [...result.filter((group) => !near.includes(group)), [part, ...near.flat()]];
  }
  return result;
}

const distance = (a, b) => Math.max(a.top - b.bottom, b.top - a.bottom, a.left - b.right, b.left - a.right, 0);

function boxOf(parts) {
  const box = {top: Infinity, bottom: 0, left: Infinity, right: 0};
  for (const {top, bottom, left, right} of parts) {
    [box.top, box.bottom] = [Math.min(box.top, top), Math.max(box.bottom, bottom)];
    [box.left, box.right] = [Math.min(box.left, left), Math.max(box.right, right)];
  }
  return box;
}

const RULES = [
  ["a dark edge", withoutEdges],
  ["a frame", withoutFrames],
  ["lines", withoutHairlines],
  ["parts of neighbours", withoutFragments],
  ["marks beside", withoutMarks],
];
