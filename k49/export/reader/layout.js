// Which parts of the ink are characters: what k49/pictures/layout.py and skew.py do, with their constants. A place is
// {top, bottom, left, right}; a doubt is known by the name of its place.

const nameOf = ({top, bottom, left, right}) => `${top},${bottom},${left},${right}`;

const sidesOf = ({top, bottom, left, right}) => [Math.max(bottom - top, right - left), Math.min(bottom - top, right - left)];

// The score of the best layout, and the places of its characters in reading order; `judge` returns doubts.
function arrange(mask, judge) {
  const whole = bounds(mask), height = whole.bottom - whole.top, width = whole.right - whole.left;
  const turned = transposed(mask), doubts = new Map([[nameOf(whole), judge ? judge(whole) : 0]]);
  const widest = Math.min(...[mask, turned].map((side) => Math.max(...runs(side).map(([start, stop]) => stop - start))));
  const sizes = SIZES.map((size) => size * widest), ask = judge ?? (() => 0);
  const columns = search(findLines(turned, mask, true), sizes, doubts, ask);
  const rows = search(findLines(mask, turned, false), sizes, doubts, ask);
  const better = roundEven((rows.score - columns.score) * 1e6) / 1e6;
  const best = better > 0 || (better === 0 && rows.lines.length === 1) ? rows : {...columns, lines: columns.lines.reverse()};
  const elongated = height > COLUMN * width || width > ROW * height, doubt = doubts.get(nameOf(whole));
  const surer = elongated || doubt > 0 ? SURER : FAR_SURER, one = WORTH - doubt;
  return best.score > one + surer ? {score: best.score, places: best.lines.flat()} : {score: one, places: [whole]};
}

// The score and the characters of the best lines. A doubt is asked for only once its place is in the best layout.
function search(lines, sizes, doubts, ask) {
  if (!lines.length) return {score: -Infinity, lines: []};
  for (const line of lines) weigh(line, sizes, doubts);
  let best;
  for (let round = 0; round < ROUNDS; round++) {
    best = bestLines(lines, sizes);
    const unknown = new Map(best.lines.flat().map((place) => [nameOf(place), place]).filter(([name]) => !doubts.has(name)));
    if (!unknown.size) break;
    for (const [name, place] of unknown) doubts.set(name, ask(place));
    for (const line of lines) if (line.places.some(({name}) => unknown.has(name))) weigh(line, sizes, doubts);
  }
  return best;
}

const table = (rows, sizes) => Array.from({length: rows + 1}, (_, row) => ({
  score: sizes.map(() => (row ? -Infinity : 0)), back: sizes.map(() => 0),
}));

function keepBetter(from, to, added, number) {
  from.score.forEach((score, size) => {
    if (!(score + added[size] > to.score[size])) return;
    to.score[size] = score + added[size];
    to.back[size] = number;
  });
}

function weigh(line, sizes, doubts) { // the best way to put its runs together, for each size
  line.best = table(line.length, sizes);
  line.places.forEach(({first, last, name, place}, number) => {
    keepBetter(line.best[first], line.best[last], worth(place, sizes, doubts.get(name) ?? 0), number);
  });
}

function worth(place, sizes, doubt) { // what a character adds to the score of a layout, for each size
  const [longer, shorter] = sidesOf(place);
  return sizes.map((size) => {
    const factor = Math.log(longer / size), away = factor / (factor < 0 ? SMALLER : LARGER);
    const narrow = Math.max(Math.log((NARROWER * size) / shorter), 0);
    return WORTH - (longer / size) * Math.min(away ** 2 / 2 + doubt, MOST_DOUBT) - NARROW * narrow;
  });
}

function bestLines(lines, sizes) {
  const count = Math.max(...lines.map(({last}) => last)), ways = table(count, sizes), chosen = [];
  lines.forEach((line, number) => keepBetter(ways[line.first], ways[line.last], line.best[line.length].score, number));
  const score = Math.max(...ways[count].score), size = ways[count].score.indexOf(score);
  for (let end = count; end > 0;) {
    const line = lines[ways[end].back[size]], places = [];
    for (let last = line.length; last > 0;) {
      const {first, place} = line.places[line.best[last].back[size]];
      places.unshift(place);
      last = first;
    }
    chosen.unshift(places);
    end = line.first;
  }
  return {score, lines: chosen};
}

function runs(mask) { // first and last (exclusive) of the rows that follow each other and have ink
  const found = [];
  for (let y = 0, before = false; y < mask.height; y++) {
    const inked = mask.values.subarray(y * mask.width, (y + 1) * mask.width).includes(1);
    if (inked && !before) found.push([y, y + 1]);
    else if (inked) found.at(-1)[1] = y + 1;
    before = inked;
  }
  return found;
}

// All columns, or rows, that runs may be put together to: a line's characters follow each other down in `along`.
function findLines(across, along, down) {
  const sections = runs(across), lines = [];
  let count = 0;
  for (let first = 0; first < sections.length; first++) {
    for (let last = first + 1; last <= Math.min(first + MOST_ACROSS, sections.length); last++) {
      const start = sections[first][0], stop = sections[last - 1][1];
      const inside = cut(along, {top: 0, bottom: along.height, left: start, right: stop}), parts = runs(inside);
      const boxes = parts.map(([top, bottom]) => bounds(cut(inside, {top, bottom, left: 0, right: inside.width})));
      const places = [];
      for (let a = 0; a < parts.length; a++) {
        for (let b = a + 1; b <= Math.min(a + MOST_PARTS, parts.length); b++) {
          const left = start + Math.min(...boxes.slice(a, b).map((box) => box.left));
          const right = start + Math.max(...boxes.slice(a, b).map((box) => box.right));
          const [top, bottom] = [parts[a][0], parts[b - 1][1]];
          const place = down ? {top, bottom, left, right} : {top: left, bottom: right, left: top, right: bottom};
          places.push({first: a, last: b, name: nameOf(place), place});
        }
      }
      lines.push({first, last, length: parts.length, places});
      count += places.length;
      if (count > MOST_PLACES) return [];
    }
  }
  return lines;
}

// Numbers of characters that may be several that touch: by their shape and parts.
function mayBeSeveral(mask, places) {
  const [usual] = percentiles(places.map((place) => sidesOf(place)[0]), [0.5]);
  return [...places.keys()].filter((number) => {
    const [longer, shorter] = sidesOf(places[number]);
    const long = longer > (places.length === 1 ? LONGEST * shorter : LARGEST * usual);
    return long || partsOf(cut(mask, places[number])) > MANY_PARTS;
  });
}

function partsOf(inside) { // how many separate strokes a character has; small ones don't count
  const longer = Math.max(inside.height, inside.width);
  const grown = dilated(framed(inside), Math.max(Math.floor(longer / 50), 1));
  return components(grown, false).filter(({extent}) => extent >= longer / 12).length;
}

// How little an image looks like a character, from 0 up.
function doubtOf(model, {probabilities, score}) {
  const outlier = model.outlier === null ? 0 : Math.max(score - model.outlier, 0);
  const unsure = Math.log(model.certain) - Math.log(Math.max(...probabilities, 1e-9));
  return OUTLIER * outlier + Math.max(unsure, 0);
}

// --- columns and rows that are tilted ---

function findSkew(mask) {
  const half = {height: Math.ceil(mask.height / 2), width: Math.ceil(mask.width / 2), values: []};
  for (let y = 0; y < mask.height; y += 2) for (let x = 0; x < mask.width; x += 2) half.values.push(mask.values[y * mask.width + x]);
  half.values = Uint8Array.from(half.values);
  const white = TILTS.map((slope) => whiteness(turned(half, slope)));
  const order = [...TILTS.keys()].sort((a, b) => Math.abs(TILTS[a]) - Math.abs(TILTS[b]) || a - b);
  const best = order.reduce((first, i) => (white[i] > white[first] ? i : first));
  return white[best] > white[TILTS.length >> 1] + WHITER ? TILTS[best] : 0;
}

function whiteness(mask) { // the share of rows, and of columns, without ink; a gap counts more than its width
  let total = 0;
  for (const side of [transposed(mask), mask]) {
    const parts = runs(side);
    if (!parts.length) continue;
    const inked = parts.reduce((sum, [start, stop]) => sum + stop - start, 0);
    total += 1 - inked / (parts.at(-1)[1] - parts[0][0]);
    total += GAP * (parts.length - 1);
  }
  return total;
}

function turned(picture, slope) { // upright, by shifts of whole pixels
  if (slope === 0) return picture;
  const {height, width, values} = picture, more = Math.abs(slope);
  const [above, left] = [Math.ceil(more * width / 2), Math.ceil(more * height / 2)];
  const tall = height + 2 * above, wide = width + 2 * left, around = (i, length) => ((i % length) + length) % length;
  const middle = [Math.floor(tall / 2), Math.floor(wide / 2)], result = new values.constructor(tall * wide);
  for (let y = 0; y < tall; y++) {
    for (let x = 0; x < wide; x++) {
      const row = around(y - roundEven(-slope * (x - middle[1])), tall);
      const column = around(x - roundEven(slope * (row - middle[0])), wide);
      const [at, from] = [row - above, column - left];
      if (at >= 0 && at < height && from >= 0 && from < width) result[y * wide + x] = values[at * width + from];
    }
  }
  return {height: tall, width: wide, values: result};
}
