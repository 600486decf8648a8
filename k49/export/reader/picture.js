// From a picture to images as the network takes them: what k49/pictures/ink.py, colour.py and characters.py
// do, line by line, with their constants, which stand before this. A picture is {height, width, values}, grey,
// 0 to 255, or {height, width, channels}: red, green, blue. clutter.js and layout.js have the rest.

// Images (size[0] * size[1]) of the characters in reading order, names of what was left out, and numbers of images
// that may hold several characters; throws an error if there is no ink. Ink takes up `extent` of an image's longer
// side; `doubt` returns how little an image looks like a character.
function characters(picture, size, extent = 1, doubt = null) {
  const ink = findInk(picture), whole = bounds(ink.mask), {height, width} = picture;
  const margins = [ink.mask.height - (whole.bottom - whole.top), ink.mask.width - (whole.right - whole.left)];
  const filled = extent < 1 || Math.min(...margins) <= BORDER * ink.mask.height / height;
  if (height === size[0] && width === size[1] && filled) {
    const grey = luminanceOf(picture).values.map((value) => (ink.light ? value : -value));
    return {images: [stretchContrast(grey)], leftOut: [], several: []};
  }
  let {score, images, several} = cutApart(ink.mask, ink.strength, size, extent, doubt);
  const slope = findSkew(ink.mask);
  if (slope) {
    const other = cutApart(turned(ink.mask, slope), turned(ink.strength, slope), size, extent, doubt);
    if (other.images.length > 1 && other.score > score + SURER) ({images, several} = other);
  }
  return {images, leftOut: ink.leftOut, several};
}

// The score of the best layout, its characters' images, and numbers of doubtful ones.
function cutApart(mask, strength, size, extent, doubt) {
  const made = new Map(), imageOf = (place) => {
    const name = nameOf(place);
    if (!made.has(name)) made.set(name, fit(cut(strength, place), size, extent));
    return made.get(name);
  };
  const {score, places} = arrange(mask, doubt && ((place) => doubt(imageOf(place))));
  return {score, images: places.map(imageOf), several: mayBeSeveral(mask, places)};
}

// --- ink ---

function findInk(picture) {
  if (Math.min(picture.height, picture.width) < SMALLEST) throw new Error("The picture is too small.");
  const ink = look(picture), side = Math.max(ink.mask.height, ink.mask.width);
  const factor = Math.max(picture.height, picture.width) / side, extent = extentOf(ink.mask);
  if (factor <= 1 || extent >= CLOSER * side) return ink;
  const box = bounds(ink.mask), margin = Math.floor(extent / 4);
  const from = (place) => Math.floor(Math.max(place - margin, 0) * factor);
  const to = (place, length) => Math.min(Math.floor((place + margin) * factor), length);
  const part = {top: from(box.top), left: from(box.left)};
  [part.bottom, part.right] = [to(box.bottom, picture.height), to(box.right, picture.width)];
  try {
    const closer = look(eachChannel(picture, (channel) => cut(channel, part)));
    return {...closer, leftOut: [...new Set([...ink.leftOut, ...closer.leftOut])]};
  } catch (error) {
    return ink;
  }
}

function look(picture) {
  let colours = toWorkingSize(picture), [grey, luminance] = toGrey(colours);
  const light = isLightOnDark(grey), leftOut = [];
  if (light) {
    grey = mapped(grey, (value) => 255 - value);
    colours = eachChannel(colours, (channel) => mapped(channel, (value) => 255 - value));
  }
  let smooth = blurred(grey);
  const lightThere = illumination(smooth).values, lit = (part) => mapped(part, (value, i) => value / lightThere[i]);
  grey = lit(grey);
  smooth = lit(smooth);
  let {strokes, darkness} = findStrokes(smooth), [cleared, lines] = withoutLines(strokes);
  if (luminance && colours.channels) {
    const other = writingInk(eachChannel(colours, lit), strokes, withoutThin(cleared));
    if (other) {
      [grey, smooth] = [other, blurred(other)];
      leftOut.push("ink of another colour");
      ({strokes, darkness} = findStrokes(smooth));
      [cleared, lines] = withoutLines(strokes);
    }
  }
  const side = Math.max(grey.height, grey.width);
  const around = dilated(strokes, Math.max(roundEven(side / 60), 1)), {mask, names} = removeClutter(cleared, darkness);
  leftOut.push(...lines, ...names);
  const near = around.values.some((value) => !value) && share(around, 0) > 0.02 ? around : mask; // ink nearly everywhere
  const known = near.values.map((value) => 1 - value);
  if (extentOf(mask) < LEAST_INK * side || !known.includes(1)) throw new Error("There is no ink: the picture is blank.");
  const paper = extrapolateBackground(smooth, known).values;
  const darker = smooth.values.map((value, i) => paper[i] - value);
  const contrast = mean(darker.filter((value, i) => mask.values[i]));
  if (contrast < Math.max(LEAST_CONTRAST, LEAST_TO_NOISE * deviation(darker.filter((value, i) => known[i])))) {
    throw new Error("No ink stands out from the paper: it is blank, or too noisy.");
  }
  const strength = grey.values.map((value, i) => 1 - value / Math.max(paper[i], 0.01));
  const least = 1.5 * deviation(strength.filter((value, i) => known[i]));
  const kept = dilated(mask, Math.max(roundEven(side / 100), 1)).values;
  const others = {...strokes, values: strokes.values.map((value, i) => (value && !mask.values[i] ? 1 : 0))};
  const clutter = dilated(others, Math.max(roundEven(side / 200), 1)).values;
  const stays = (i) => kept[i] && (mask.values[i] || !clutter[i]);
  return {light, mask, leftOut, strength: {...grey, values: strength.map((value, i) => (stays(i) ? Math.max(value - least, 0) : 0))}};
}

const blurred = (grey) => gaussian(grey, Math.max(grey.height, grey.width) / 300);

function illumination(smooth) {
  return mapped(closing(smooth, Math.floor(Math.max(smooth.height, smooth.width) / WIDEST)), (value) => Math.max(value, 1));
}

function findStrokes(smooth) {
  const {height, width, values} = smooth, few = [];
  for (let y = 0; y < height; y += 2) for (let x = 0; x < width; x += 2) few.push(values[y * width + x]);
  const [dark, bright] = percentiles(few, [0.001, 0.99]);
  if (bright - dark < LEAST_CONTRAST) throw new Error("There is no ink: the picture is blank.");
  const level = {...smooth, values: Float64Array.from(smooth.values, (value) => (value - dark) / (bright - dark))};
  const window = Math.max(Math.floor(Math.max(smooth.height, smooth.width) / 3), 15) | 1;
  const threshold = sauvola(level, window, SAUVOLA, 0.5);
  const strokes = Uint8Array.from(level.values, (value, i) => value < Math.min(threshold[i], 1 - LEAST_DARK));
  return {strokes: {...smooth, values: strokes}, darkness: mapped(level, (value) => 1 - value)};
}

// The picture without the ink that doesn't write, if there are two inks.
function writingInk({height, width, channels}, strokes, thick) {
  const few = [], pixels = [], tall = Math.ceil(height / 2), wide = Math.ceil(width / 2);
  for (let y = 0; y < height; y += 2) for (let x = 0; x < width; x += 2) few.push(y * width + x);
  const halved = {height: tall, width: wide, values: Uint8Array.from(few, (i) => thick.values[i])};
  const near = dilated(halved, Math.max(Math.floor(Math.max(height, width) / BESIDE), 1)).values;
  const paper = few.filter((i) => !strokes.values[i]), beside = few.filter((i, k) => near[k] && !strokes.values[i]);
  const medians = (places) => channels.map(({values}) => percentiles(places.map((i) => values[i]), [0.5])[0]);
  let white = medians(paper);
  const alike = beside.filter((i) => channels.every(({values}, c) => Math.abs(values[i] - white[c]) < SAME_PAPER));
  if (beside.length && alike.length < LEAST_ALIKE * beside.length) white = medians(beside); // more of it is a desk
  white = white.map((value) => Math.max(value, 1e-3));
  const absorbed = (i) => channels.map(({values}, c) => 1 - values[i] / white[c]);
  for (const i of few) if (thick.values[i]) pixels.push(absorbed(i));
  for (const {direction, unmixing} of inks(pixels)) {
    const grey = {height, width, values: new Float64Array(height * width)}, strength = mean(direction);
    for (let i = 0; i < grey.values.length; i++) {
      grey.values[i] = 1 - Math.min(Math.max(dot(absorbed(i), unmixing) * strength, 0), 1);
    }
    try {
      const [remaining] = withoutLines(findStrokes(blurred(grey)).strokes);
      if (extentOf(removeClutter(remaining).mask) >= WRITES * extentOf(strokes)) return grey;
    } catch (error) {
      continue; // no contrast: not this one
    }
  }
  return null;
}

// --- colour ---

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const outer = (vectors) => [0, 1, 2].map((a) => [0, 1, 2].map((b) => vectors.reduce((sum, v) => sum + v[a] * v[b], 0)));

function luminanceOf(picture) {
  if (!picture.channels) return picture;
  const [red, green, blue] = picture.channels.map(({values}) => values);
  const values = Float64Array.from(red, (value, i) => LUMINANCE[0] * value + LUMINANCE[1] * green[i] + LUMINANCE[2] * blue[i]);
  return {height: picture.height, width: picture.width, values};
}

// Luminance, and true; or what differs most, and false.
function toGrey(colours) {
  if (!colours.channels) return [colours, true];
  const away = colours.channels.map((channel) => differences(shrink(channel, 32)).values);
  const covariance = outer(Array.from(away[0], (_, i) => away.map((values) => values[i])));
  const {value: largest, axis} = principal(covariance);
  const along = dot(LUMINANCE.map((_, a) => dot(covariance[a], LUMINANCE)), LUMINANCE) / dot(LUMINANCE, LUMINANCE);
  if (along >= EQUAL * largest) return [luminanceOf(colours), true];
  const sign = Math.sign(axis[0] + axis[1] + axis[2]), [red, green, blue] = colours.channels.map(({values}) => values);
  const grey = Float64Array.from(red, (value, i) => sign * (axis[0] * value + axis[1] * green[i] + axis[2] * blue[i]));
  const low = grey.reduce((a, b) => Math.min(a, b)), high = grey.reduce((a, b) => Math.max(a, b));
  const stretched = grey.map((value) => (value - low) * (255 / Math.max(high - low, 1e-6)));
  return [{height: colours.height, width: colours.width, values: stretched}, false];
}

// The largest eigenvalue of a symmetric matrix, and its vector, by powers.
function principal(matrix) {
  let power = matrix.map((row) => row.slice());
  for (let time = 0; time < 12; time++) { // to the power of 4096
    const size = Math.hypot(...power.flat()) || 1, scaled = power.map((row) => row.map((value) => value / size));
    power = scaled.map((row) => row.map((_, b) => dot(row, scaled.map((other) => other[b]))));
  }
  const column = power.reduce((best, row) => (Math.hypot(...row) > Math.hypot(...best) ? row : best));
  const length = Math.hypot(...column) || 1, axis = column.map((value) => value / length);
  return {value: dot(matrix.map((row) => dot(row, axis)), axis), axis};
}

// Differences from the median around each pixel of a small picture; the edges are repeated.
function differences(small) {
  const {height, width} = small, values = Int16Array.from(small.values, roundEven), counts = new Uint16Array(256);
  const inside = (place, length) => Math.min(Math.max(place, 0), length - 1);
  const result = new Float64Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      counts.fill(0);
      for (let r = -8; r < 8; r++) for (let c = -8; c < 8; c++) counts[inside(values[inside(y + r, height) * width + inside(x + c, width)], 256)]++;
      let median = 0, below = counts[0];
      while (below <= 128) below += counts[++median];
      result[y * width + x] = values[y * width + x] - median;
    }
  }
  return {height, width, values: result};
}

// Two inks of other colours, the one that probably writes first; or none.
function inks(pixels) {
  const lengths = pixels.map((pixel) => Math.hypot(...pixel));
  const directions = pixels.map((pixel, i) => pixel.map((value) => value / Math.max(lengths[i], 1e-6)));
  const total = lengths.reduce((a, b) => a + b + 1e-9, 0);
  const middle = [0, 1, 2].map((c) => directions.reduce((sum, direction, i) => sum + direction[c] * (lengths[i] + 1e-9), 0) / total);
  const away = directions.map((direction, i) => direction.map((value, c) => (value - middle[c]) * lengths[i]));
  const {axis} = principal(outer(away));
  let first = away.map((vector) => dot(vector, axis) > 0), centres;
  for (let time = 0; time < 5; time++) {
    if (!first.includes(true) || !first.includes(false)) return [];
    centres = [true, false].map((side) => {
      const sum = [0, 0, 0];
      pixels.forEach((pixel, i) => first[i] === side && pixel.forEach((value, c) => (sum[c] += value)));
      return sum.map((value) => value / Math.max(Math.hypot(...sum), 1e-6));
    });
    first = directions.map((direction) => dot(direction, centres[0]) > dot(direction, centres[1]));
  }
  const ofFirst = lengths.filter((_, i) => first[i]).reduce((a, b) => a + b, 0) / lengths.reduce((a, b) => a + b, 0);
  const cosine = dot(...centres);
  if (!(ofFirst > LEAST_SHARE && ofFirst < 1 - LEAST_SHARE) || cosine > LEAST_ANGLE) return [];
  const both = [0, 1].map((k) => {
    const direction = centres[k], other = centres[1 - k];
    const unmixing = direction.map((value, c) => (value - cosine * other[c]) / (1 - cosine ** 2));
    const own = lengths.filter((_, i) => first[i] === (k === 0)), [red, green, blue] = direction;
    return {direction, unmixing, darkness: mean(own), red: Math.min(green, blue) - red > REDDER * Math.max(...direction)};
  });
  return both.sort((a, b) => a.red - b.red || b.darkness - a.darkness);
}

function isLightOnDark(grey) {
  const centre = skewness(differences(shrink(withoutMargin(grey), 32)));
  if (centre < DARK) return false;
  const small = shrink(grey, 32), {height, width, values} = small, whole = differences(small), inner = withoutMargin(whole);
  const middle = mean(values), border = [];
  values.forEach((value, i) => {
    const y = Math.floor(i / width), x = i % width;
    if (y === 0 || y === height - 1 || x === 0 || x === width - 1) border.push(value > middle ? 1 : 0);
  });
  const skewed = skewness(deviation(inner.values) > 0.2 * deviation(whole.values) ? inner : whole);
  return skewed + centre / 2 + 1 - 2 * mean(border) > LIGHT;
}

function withoutMargin(picture) { // of a sixth on each side
  const [rows, columns] = [Math.floor(picture.height / 6), Math.floor(picture.width / 6)];
  return cut(picture, {top: rows, bottom: picture.height - rows, left: columns, right: picture.width - columns});
}

function skewness({values}) {
  return mean(values.map((value) => value ** 3)) / Math.max(mean(values.map((value) => value ** 2)) ** 1.5, 1e-9);
}

// --- characters ---

function framed({height, width, values}) { // by a pixel of paper
  const wide = width + 2, framed = new Uint8Array(wide * (height + 2));
  for (let y = 0; y < height; y++) framed.set(values.subarray(y * width, (y + 1) * width), (y + 1) * wide + 1);
  return {height: height + 2, width: wide, values: framed};
}

// Ink scaled to `extent` of what just fits into an image, in the middle.
function fit(strength, size, extent) {
  const {height, width} = strength, largest = extent * Math.min(size[0] / height, size[1] / width);
  const first = Math.min(FINER * largest, 1);
  const fine = sharpened(first < 1 ? scaled(strength, first, BOX) : strength);
  const to = (length) => Math.max(roundEven(length * largest), 1);
  const image = centred(toSize(fine, to(height), to(width), LANCZOS), size, 0);
  return stretchContrast(image.map((value) => Math.max(value, 0)));
}

function gradient({height, width, values}, i) { // how steep it is at a pixel, as numpy.gradient
  const slope = (before, after, step) => (values[i + (after ? step : 0)] - values[i - (before ? step : 0)]) / ((before + after) || 1);
  const y = Math.floor(i / width), x = i % width;
  return Math.hypot(slope(y > 0, y < height - 1, width), slope(x > 0, x < width - 1, 1));
}

function sharpened(strength) {
  const {height, width, values} = strength, side = Math.max(height, width), most = values.reduce((a, b) => Math.max(a, b));
  const strokes = [], slopes = [];
  values.forEach((value, i) => {
    if (value <= most / 4) return;
    strokes.push(value);
    slopes.push(gradient(strength, i));
  });
  const [high] = percentiles(strokes, [0.9]), [steep] = percentiles(slopes, [0.9]), [sharp, soft] = BLURRED;
  const blur = Math.min(Math.max((high / Math.max(steep, 1e-9) / side - sharp) / (soft - sharp), 0), 1);
  const means = gaussian(strength, REACH * side, 2).values;
  return mapped(strength, (value, i) => value + blur * (Math.min(Math.max(value + SHARPEN * (value - means[i]), 0), CEILING * high) - value));
}

// Scaled to what just fits into a size, in the middle, filled with `around`.
function fitted(picture, size, around) {
  return centred(scaled(picture, Math.min(size[0] / picture.height, size[1] / picture.width), LANCZOS), size, around);
}

function centred(small, [height, width], around) {
  const image = new Float64Array(height * width).fill(around);
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
const TRIANGLE = {support: 1, at: (x) => Math.max(1 - Math.abs(x), 0)};
const LANCZOS = {support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)};

const eachChannel = (picture, f) => {
  if (!picture.channels) return f(picture);
  const channels = picture.channels.map((channel) => f(channel));
  return {height: channels[0].height, width: channels[0].width, channels};
};

function shrink(picture, side) {
  const longer = Math.max(picture.height, picture.width);
  return longer <= side ? mapped(picture, (value) => value) : scaled(picture, side / longer, BOX);
}

function toWorkingSize(picture) {
  const side = Math.max(picture.height, picture.width);
  if (side >= SHORTER_SIDE) return eachChannel(picture, (channel) => shrink(channel, LONGER_SIDE));
  return eachChannel(picture, (channel) => scaled(channel, SHORTER_SIDE / side, LANCZOS));
}

function scaled(picture, factor, filter) {
  const size = (length) => Math.max(roundEven(length * factor), 1);
  return toSize(picture, size(picture.height), size(picture.width), filter);
}

function toSize(picture, height, width, filter) {
  return transposed(resized(transposed(resized(picture, width, filter)), height, filter));
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
  const columns = Int32Array.from({length: wide - 1}, (_, x) => inside(x - r, width));
  for (let y = 1; y < tall; y++) {
    const row = inside(y - 1 - r, height) * width;
    for (let x = 1, at = y * wide + 1; x < wide; x++, at++) {
      const value = values[row + columns[x - 1]];
      sums[at] = value + sums[at - 1] + sums[at - wide] - sums[at - wide - 1];
      squares[at] = value * value + squares[at - 1] + squares[at - wide] - squares[at - wide - 1];
    }
  }
  const result = new Float64Array(values.length), area = window ** 2;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0, from = y * wide, to = (y + window) * wide; x < width; x++, i++, from++, to++) {
      const middle = (sums[to + window] - sums[to] - sums[from + window] + sums[from]) / area;
      const square = (squares[to + window] - squares[to] - squares[from + window] + squares[from]) / area;
      result[i] = middle * (1 + k * (Math.sqrt(Math.max(square - middle * middle, 0)) / range - 1));
    }
  }
  return result;
}

function dilated({height, width, values}, times) { // by the four neighbours: as far as `times` steps lead
  const away = new Int32Array(values.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let steps = values[i] ? 0 : times + 1;
      if (x > 0 && away[i - 1] + 1 < steps) steps = away[i - 1] + 1;
      if (y > 0 && away[i - width] + 1 < steps) steps = away[i - width] + 1;
      away[i] = steps;
    }
  }
  const grown = new Uint8Array(values.length);
  for (let y = height - 1, i = away.length - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--, i--) {
      let steps = away[i];
      if (x < width - 1 && away[i + 1] + 1 < steps) steps = away[i + 1] + 1;
      if (y < height - 1 && away[i + width] + 1 < steps) steps = away[i + width] + 1;
      away[i] = steps;
      grown[i] = steps <= times ? 1 : 0;
    }
  }
  return {height, width, values: grown};
}

// Smooth where it is known, and continue to everywhere else.
function extrapolateBackground(grey, known) { // computed small
  const weights = shrink({...grey, values: Float64Array.from(known)}, SMALL), {height, width} = weights;
  const values = shrink(mapped(grey, (value, i) => (known[i] ? value : 0)), SMALL), sigma = Math.max(height, width) / 12;
  const weight = gaussian(weights, sigma, 2).values, smooth = gaussian(values, sigma, 2).values;
  const [middle] = percentiles(grey.values.filter((_, i) => known[i]), [0.5]);
  const small = smooth.map((value, i) => (weight[i] > 1e-3 ? value / Math.max(weight[i], 1e-3) : middle));
  return toSize({height, width, values: small}, grey.height, grey.width, TRIANGLE);
}
