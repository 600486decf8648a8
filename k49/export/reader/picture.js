// From a picture to images as the network takes them: what k49/pictures/ink.py and characters.py do,
// line by line, with their constants, which stand before this. A picture is {height, width, values},
// 0 to 255.

// Images (size[0] * size[1]) of the characters of a column or row, and whether an image may hold several
// of them; throws an error if there is no ink. Ink takes up `extent` of an image's longer side.
function characters(grey, size, extent = 1) {
  const ink = findInk(grey);
  const whole = bounds(ink.mask);
  const margins = [size[0] - (whole.bottom - whole.top), size[1] - (whole.right - whole.left)];
  const {height, width} = ink.mask;
  if (height === size[0] && width === size[1] && (extent < 1 || Math.min(...margins) <= BORDER)) {
    return {images: [stretchContrast(grey.values.map((value) => (ink.light ? value : -value)))], doubtful: false};
  }
  const found = boxes(ink.mask);
  const images = found.map((box) => fit(cut(ink.strength, box), size, extent));
  return {images, doubtful: found.length === 1 && !isOne(ink.mask)};
}

// --- ink ---

function findInk(original) {
  if (Math.min(original.height, original.width) < SMALLEST) throw new Error("The picture is too small.");
  let grey = shrink(original, LONGER_SIDE);
  const light = isLightOnDark(grey);
  if (light) grey = mapped(grey, (value) => 255 - value);
  const side = Math.max(grey.height, grey.width);
  let smooth;
  [grey, smooth] = withoutShadows(grey);
  const [dark, bright] = percentiles(smooth.values, [0.01, 0.99]);
  if (bright - dark < LEAST_CONTRAST) throw new Error("There is no ink: the picture is blank.");
  const window = Math.max(Math.floor(side / 3), 15) | 1;
  const threshold = sauvola(smooth, window, 0.2, (bright - dark) / 2);
  const below = Uint8Array.from(smooth.values, (value, i) => value < threshold[i]);
  const mask = removeSmallComponents({...smooth, values: below});
  let far = dilated(mask, Math.max(roundEven(side / 60), 1));
  far = far.values.some((value) => !value) && share(far, 0) > 0.02 ? far : mask; // ink nearly everywhere
  const known = far.values.map((value) => 1 - value);
  if (!mask.values.includes(1) || !known.includes(1)) throw new Error("There is no ink: the picture is blank.");
  const paper = extrapolateBackground(smooth, known, side / 12);
  const darker = smooth.values.map((value, i) => paper[i] - value);
  const contrast = mean(darker.filter((value, i) => mask.values[i]));
  const noise = deviation(darker.filter((value, i) => known[i]));
  if (contrast < Math.max(LEAST_CONTRAST, LEAST_TO_NOISE * noise)) {
    throw new Error("No ink stands out from the paper: it is blank, or too noisy.");
  }
  const strength = grey.values.map((value, i) => 1 - value / Math.max(paper[i], 1));
  const least = 1.5 * deviation(strength.filter((value, i) => known[i]));
  return {light, mask, strength: {...grey, values: strength.map((value) => Math.max(value - least, 0))}};
}

function withoutShadows(grey) {
  const side = Math.max(grey.height, grey.width);
  const smooth = gaussian(grey, side / 300);
  const illumination = gaussian(closing(smooth, Math.floor(side / WIDEST)), side / 60);
  const factor = illumination.values.map((value) => 255 / Math.max(value, 1));
  return [grey, smooth].map((picture) => mapped(picture, (value, i) => value * factor[i]));
}

function isLightOnDark(grey) {
  const small = shrink(grey, 96), surface = flat(small);
  return small.values.reduce((sum, value, i) => sum + (value - surface[i]) ** 3, 0) > 0;
}

// A quadratic surface, paper in uneven light, fitted again and again to what lies near it.
function flat({height, width, values}) {
  const n = values.length, terms = new Float64Array(6 * n), surface = new Float64Array(n);
  const along = (i, length) => (length > 1 ? -1 + (2 * i) / (length - 1) : -1);
  for (let i = 0; i < n; i++) {
    const y = along(Math.floor(i / width), height), x = along(i % width, width);
    terms.set([1, x, y, x * y, x * x, y * y], 6 * i);
  }
  const near = new Uint8Array(n).fill(1), distance = new Float64Array(n);
  for (let round = 0; round < 6; round++) {
    const weights = leastSquares(terms, values, near);
    for (let i = 0; i < n; i++) {
      surface[i] = 0;
      for (let k = 0; k < 6; k++) surface[i] += terms[6 * i + k] * weights[k];
      distance[i] = Math.abs(values[i] - surface[i]);
    }
    const [middle] = percentiles(distance, [0.5]);
    for (let i = 0; i < n; i++) near[i] = distance[i] <= 2.5 * middle + 1;
  }
  return surface;
}

// The weights of 6 terms each, by the normal equations and Gauss's elimination.
function leastSquares(terms, values, near) {
  const rows = Array.from({length: 6}, () => new Float64Array(7));
  for (let i = 0; i < values.length; i++) {
    if (!near[i]) continue;
    for (let a = 0; a < 6; a++) {
      for (let b = a; b < 6; b++) rows[a][b] += terms[6 * i + a] * terms[6 * i + b];
      rows[a][6] += terms[6 * i + a] * values[i];
    }
  }
  for (let a = 0; a < 6; a++) for (let b = 0; b < a; b++) rows[a][b] = rows[b][a];
  for (let a = 0; a < 6; a++) {
    let pivot = a;
    for (let b = a + 1; b < 6; b++) if (Math.abs(rows[b][a]) > Math.abs(rows[pivot][a])) pivot = b;
    [rows[a], rows[pivot]] = [rows[pivot], rows[a]];
    if (Math.abs(rows[a][a]) < 1e-9) continue; // too few points to tell: that term is left out
    for (let b = 0; b < 6; b++) {
      if (b === a) continue;
      const factor = rows[b][a] / rows[a][a];
      for (let c = a; c < 7; c++) rows[b][c] -= factor * rows[a][c];
    }
  }
  return rows.map((row, a) => (Math.abs(row[a]) < 1e-9 ? 0 : row[6] / row[a]));
}

// --- characters ---

function boxes(mask) {
  const whole = bounds(mask), height = whole.bottom - whole.top, width = whole.right - whole.left;
  if (height < COLUMN * width && width < ROW * height) return [whole];
  const inside = cut(mask, whole), down = height > width;
  return segments(down ? inside : transposed(inside)).map(([first, last]) => {
    const part = down
      ? {top: first, bottom: last, left: 0, right: width}
      : {top: 0, bottom: height, left: first, right: last};
    const box = bounds(cut(inside, part)), top = whole.top + part.top, left = whole.left + part.left;
    return {top: top + box.top, bottom: top + box.bottom, left: left + box.left, right: left + box.right};
  });
}

// First and last row (exclusive) of each character in a column.
function segments(mask) {
  const inked = [];
  for (let y = 0; y < mask.height; y++) {
    inked.push(mask.values.subarray(y * mask.width, (y + 1) * mask.width).includes(1));
  }
  const runs = [];
  inked.forEach((is, y) => {
    if (is && !inked[y - 1]) runs.push([y, y + 1]);
    else if (is) runs.at(-1)[1] = y + 1;
  });
  const size = ([first, last]) => {
    const box = bounds(cut(mask, {top: first, bottom: last, left: 0, right: mask.width}));
    return Math.max(last - first, box.right - box.left);
  };
  while (runs.length > 1) {
    const sizes = runs.map(size), gaps = runs.slice(1).map((run, i) => run[0] - runs[i][1]);
    const near = gaps.indexOf(Math.min(...gaps)), small = sizes.indexOf(Math.min(...sizes));
    const [middle] = percentiles(Float64Array.from(sizes), [0.5]);
    let first;
    if (gaps[near] < GAP * Math.max(mask.width, middle)) {
      first = near; // parts of one character
    } else if (sizes[small] < LEAST * Math.max(...sizes)) {
      const above = small > 0 && (small === gaps.length || gaps[small - 1] <= gaps[small]);
      first = above ? small - 1 : small;
    } else {
      break;
    }
    runs.splice(first, 2, [runs[first][0], runs[first + 1][1]]);
  }
  return runs;
}

// Whether a mask that can't be cut probably shows a single character.
function isOne(mask) {
  const box = bounds(mask), inside = cut(mask, box), {height, width} = inside;
  const columns = segments(transposed(inside)).length;
  if (segments(inside).length > 1 || columns > 2 || (columns === 2 && width > WIDE * height)) return false;
  const side = Math.max(height, width), grown = dilated(framed(inside), Math.max(Math.floor(side / 50), 1));
  return componentSides(grown).filter((extent) => extent >= side / 12).length <= MANY_PARTS;
}

function framed({height, width, values}) { // by a pixel of paper
  const wide = width + 2, framed = new Uint8Array(wide * (height + 2));
  for (let y = 0; y < height; y++) framed.set(values.subarray(y * width, (y + 1) * width), (y + 1) * wide + 1);
  return {height: height + 2, width: wide, values: framed};
}

// The longer side of each connected component, by the four neighbours.
function componentSides({height, width, values}) {
  const left = values.slice(), sides = [];
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    const stack = [start];
    left[start] = 0;
    let [top, bottom, first, last] = [height, 0, width, 0];
    while (stack.length) {
      const at = stack.pop(), y = Math.floor(at / width), x = at % width;
      [top, bottom, first, last] = [Math.min(top, y), Math.max(bottom, y), Math.min(first, x), Math.max(last, x)];
      for (const [next, there] of [[at - 1, x > 0], [at + 1, x < width - 1], [at - width, y > 0], [at + width, y < height - 1]]) {
        if (there && left[next]) {
          left[next] = 0;
          stack.push(next);
        }
      }
    }
    sides.push(Math.max(bottom - top, last - first) + 1);
  }
  return sides;
}

// Ink scaled to `extent` of what just fits into an image, in the middle.
function fit(strength, size, extent) {
  return stretchContrast(fitted(strength, size, 0, extent).map((value) => Math.max(value, 0)));
}

// Scaled to `extent` of what just fits into a size, in the middle, filled with `around`.
function fitted(picture, [height, width], around, extent = 1) {
  const factor = extent * Math.min(height / picture.height, width / picture.width);
  const small = scaled(picture, factor, LANCZOS), image = new Float64Array(height * width).fill(around);
  const top = Math.floor((height - small.height) / 2), left = Math.floor((width - small.width) / 2);
  small.values.forEach((value, i) => {
    const y = top + Math.floor(i / small.width), x = left + (i % small.width);
    if (y >= 0 && y < height && x >= 0 && x < width) image[y * width + x] = value;
  });
  return image;
}

function stretchContrast(values) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return Uint8ClampedArray.from(values, (value) => (value - low) * (255 / Math.max(high - low, 1e-6)));
}

// --- pictures ---

const mapped = (picture, f) => ({...picture, values: picture.values.map(f)});
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const share = (picture, what) => picture.values.filter((value) => value === what).length / picture.values.length;

function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

function roundEven(x) { // as Python rounds
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function percentiles(values, shares) {
  const ordered = Float64Array.from(values).sort();
  return shares.map((share) => {
    const at = share * (ordered.length - 1), below = Math.floor(at);
    const above = Math.min(below + 1, ordered.length - 1);
    return ordered[below] + (at - below) * (ordered[above] - ordered[below]);
  });
}

function bounds({height, width, values}) {
  const box = {top: height, bottom: 0, left: width, right: 0};
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!values[i++]) continue;
      box.top = Math.min(box.top, y);
      box.bottom = y + 1;
      if (x < box.left) box.left = x;
      if (x >= box.right) box.right = x + 1;
    }
  }
  return box;
}

function cut(picture, {top, bottom, left, right}) {
  const height = bottom - top, width = right - left, values = new picture.values.constructor(height * width);
  for (let y = 0; y < height; y++) {
    const from = (top + y) * picture.width + left;
    values.set(picture.values.subarray(from, from + width), y * width);
  }
  return {height, width, values};
}

function transposed({height, width, values}) {
  const turned = new values.constructor(values.length);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++) turned[x * height + y] = values[i++];
  return {height: width, width: height, values: turned};
}

const BOX = {support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)};
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const LANCZOS = {support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)};

function shrink(picture, side) {
  const longer = Math.max(picture.height, picture.width);
  return longer <= side ? mapped(picture, (value) => value) : scaled(picture, side / longer, BOX);
}

function scaled(picture, factor, filter) {
  const size = (length) => Math.max(roundEven(length * factor), 1);
  const narrow = resized(picture, size(picture.width), filter);
  return transposed(resized(transposed(narrow), size(picture.height), filter));
}

// To another width, as Pillow does it (Resample.c): each pixel is a weighted mean.
function resized({height, width, values}, wide, filter) {
  const factor = width / wide, stretch = Math.max(factor, 1), support = filter.support * stretch;
  const result = new Float32Array(height * wide);
  for (let x = 0; x < wide; x++) {
    const centre = (x + 0.5) * factor;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), width);
    const weights = [];
    for (let at = first; at < last; at++) weights.push(filter.at((at - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b);
    for (let y = 0; y < height; y++) {
      let value = 0;
      for (let k = 0; k < weights.length; k++) value += values[y * width + first + k] * weights[k];
      result[y * wide + x] = value / sum;
    }
  }
  return {height, width: wide, values: result};
}

// --- filters, with the edge mirrored ---

const mirrored = (i, length) => {
  const at = ((i % (2 * length)) + 2 * length) % (2 * length);
  return at < length ? at : 2 * length - 1 - at;
};

function gaussian(picture, sigma, truncate = 4) {
  const radius = Math.floor(truncate * sigma + 0.5);
  const weights = Float64Array.from({length: 2 * radius + 1}, (_, i) => Math.exp(-(((i - radius) / sigma) ** 2) / 2));
  const sum = weights.reduce((a, b) => a + b);
  const down = ({height, width, values}) => { // along the columns, a whole row at a time
    const result = new Float32Array(values.length);
    for (let y = 0; y < height; y++) {
      for (let k = -radius; k <= radius; k++) {
        const from = mirrored(y + k, height) * width, weight = weights[k + radius] / sum;
        for (let x = 0; x < width; x++) result[y * width + x] += weight * values[from + x];
      }
    }
    return {height, width, values: result};
  };
  return transposed(down(transposed(down(picture))));
}

// Grey closing by a square: the highest value around, then the lowest of those.
function closing(picture, size) {
  const after = size >> 1, before = (size - 1) >> 1;
  const around = (image, from, to) => transposed(highest(transposed(highest(image, from, to)), from, to));
  const negative = (image) => mapped(image, (value) => -value);
  return negative(around(negative(around(picture, before, after)), after, before));
}

// The highest of the values from `before` above to `after` below each, by doubling what is covered.
function highest({height, width, values}, before, after) {
  const length = before + after + 1, result = new Float32Array(values.length);
  let rows = values, covered = 1; // rows[y] is the highest of rows y to y + covered - 1
  while (covered < length) {
    const step = Math.min(covered, length - covered), joined = new Float32Array(values.length);
    for (let y = 0, i = 0; y < height; y++) {
      const other = Math.min(y + step, height - 1) * width;
      for (let x = 0; x < width; x++, i++) joined[i] = rows[i] > rows[other + x] ? rows[i] : rows[other + x];
    }
    [rows, covered] = [joined, covered + step];
  }
  for (let y = before; y < height; y++) {
    result.set(rows.subarray((y - before) * width, (y - before + 1) * width), y * width);
  }
  for (let y = 0; y < Math.min(before, height); y++) { // the window begins above the picture
    const row = result.subarray(y * width, (y + 1) * width).fill(-Infinity);
    for (let at = 0; at <= Math.min(y + after, height - 1); at++) {
      for (let x = 0; x < width; x++) if (values[at * width + x] > row[x]) row[x] = values[at * width + x];
    }
  }
  return {height, width, values: result};
}

// Sauvola's threshold for each pixel, by sums over a window (edges mirrored as NumPy's "reflect").
function sauvola({height, width, values}, window, k, range) {
  const r = window >> 1, wide = width + 2 * r + 1, tall = height + 2 * r + 1;
  const inside = (i, length) => {
    const period = Math.max(2 * length - 2, 1), at = ((i % period) + period) % period;
    return at < length ? at : period - at;
  };
  const sums = new Float64Array(tall * wide), squares = new Float64Array(tall * wide);
  for (let y = 1; y < tall; y++) {
    for (let x = 1; x < wide; x++) {
      const value = values[inside(y - 1 - r, height) * width + inside(x - 1 - r, width)], at = y * wide + x;
      sums[at] = value + sums[at - 1] + sums[at - wide] - sums[at - wide - 1];
      squares[at] = value * value + squares[at - 1] + squares[at - wide] - squares[at - wide - 1];
    }
  }
  return Float64Array.from(values, (_, i) => {
    const from = Math.floor(i / width) * wide + (i % width), to = from + window * wide;
    const over = (table) => (table[to + window] - table[to] - table[from + window] + table[from]) / window ** 2;
    const middle = over(sums), spread = Math.sqrt(Math.max(over(squares) - middle * middle, 0));
    return middle * (1 + k * (spread / range - 1));
  });
}

function removeSmallComponents(mask) {
  const {height, width, values} = mask, labels = new Int32Array(values.length), areas = [0];
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const label = areas.push(0) - 1, stack = [start];
    labels[start] = label;
    while (stack.length) {
      const at = stack.pop(), y = Math.floor(at / width), x = at % width;
      areas[label]++;
      for (let r = Math.max(y - 1, 0); r <= Math.min(y + 1, height - 1); r++) {
        for (let c = Math.max(x - 1, 0); c <= Math.min(x + 1, width - 1); c++) {
          const next = r * width + c;
          if (values[next] && !labels[next]) {
            labels[next] = label;
            stack.push(next);
          }
        }
      }
    }
  }
  const least = Math.max(SPECK * areas.reduce((a, b) => Math.max(a, b)), 3);
  return {...mask, values: values.map((value, i) => (value && areas[labels[i]] >= least ? 1 : 0))};
}

function dilated(mask, times) { // by the four neighbours
  const {height, width} = mask;
  let {values} = mask;
  for (let time = 0; time < times; time++) {
    const grown = values.slice();
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (!values[i]) continue;
        if (x > 0) grown[i - 1] = 1;
        if (x < width - 1) grown[i + 1] = 1;
        if (y > 0) grown[i - width] = 1;
        if (y < height - 1) grown[i + width] = 1;
      }
    }
    values = grown;
  }
  return {...mask, values};
}

// Smooth where it is known, and continue to everywhere else.
function extrapolateBackground(grey, known, sigma) {
  const weight = gaussian({...grey, values: Float32Array.from(known)}, sigma, 2).values;
  const smooth = gaussian(mapped(grey, (value, i) => (known[i] ? value : 0)), sigma, 2).values;
  const [middle] = percentiles(grey.values.filter((_, i) => known[i]), [0.5]);
  return smooth.map((value, i) => (weight[i] > 1e-3 ? value / weight[i] : middle));
}
