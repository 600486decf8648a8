// The page: takes drawings and pictures, shows what the network reads.

const SHOWN = 5, PEN = 14, BOARD = 112; // candidates; a pen's width; pixels at which a drawing is read
const MOST_PIXELS = 50e6, PICTURE = 2048; // of a picture; pixels at which it is read, at most
const board = document.getElementById("board"), pen = board.getContext("2d", {willReadFrequently: true});
const element = (id) => document.getElementById(id);
const ready = loadModel(MODEL);
let strokes = [], readings = [];

// --- reading ---

// The first readings take five times as long, until the browser has compiled what they need: take them now.
ready.catch(() => showNothing("This browser can't unpack the model: it needs DecompressionStream (Safari from 16.4)."));
ready.then((model) => {
  const pixels = Float32Array.from({length: BOARD ** 2}, (_, i) => (Math.abs((i % BOARD) - BOARD / 2) < 4 && i > 999 ? 0 : 255));
  for (let time = 0; time < 4; time++) {
    const {images} = characters({height: BOARD, width: BOARD, values: pixels}, model.size);
    readImage(model, images[0]);
  }
}, () => {});

async function read(source, side) {
  const model = await ready;
  const start = performance.now(), known = new Map(); // each image is read once
  const readOnce = (image) => known.get(image) ?? known.set(image, readImage(model, image)).get(image);
  try {
    const {images, leftOut, several} = model.normalize === "ink"
      ? characters(coloursOf(source, side), model.size, model.extent, (image) => doubtOf(model, readOnce(image)))
      : {images: [whole(source, model)], leftOut: [], several: []};
    const without = leftOut.length ? `Left out: ${leftOut.join(", ")}.` : "";
    readings = images.map((image, i) => {
      const {candidates, note} = judged(model, readOnce(image));
      const doubt = several.includes(i) ? "May hold several characters, read as one." : "";
      return {image, candidates, note: [doubt, note, without].filter(Boolean).join(" ")};
    });
    show(model, 0);
  } catch (error) {
    readings = [];
    showNothing(error.message);
  }
  document.body.dataset.milliseconds = (performance.now() - start).toFixed(1);
}

function judged(model, {probabilities, score}) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const candidates = order.slice(0, SHOWN).map((label) => ({label, probability: probabilities[label]}));
  let note = "";
  if (model.outlier !== null && score > model.outlier) note = "Unlike the training images: perhaps not one of the classes.";
  else if (candidates[0].probability < model.certain) note = "Uncertain.";
  return {candidates, note};
}

// A picture of `side` pixels at most: {height, width, channels}, or values, if it has no colours. On white paper,
// and on black if its ink vanishes on white.
function coloursOf(source, side) {
  const picture = coloursOn("white", source, side), {values} = luminanceOf(picture);
  const contrast = values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
  return contrast < LEAST_ON_WHITE ? coloursOn("black", source, side) : picture;
}

function coloursOn(paper, source, side) {
  const width = source.width, height = source.height, factor = Math.min(1, side / Math.max(width, height));
  const sheet = new OffscreenCanvas(Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor)));
  const context = sheet.getContext("2d");
  context.fillStyle = paper;
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, sheet.width, sheet.height);
  const {data} = context.getImageData(0, 0, sheet.width, sheet.height), size = {height: sheet.height, width: sheet.width};
  const channels = [0, 1, 2].map((c) => ({...size, values: Float32Array.from({length: data.length / 4}, (_, i) => data[4 * i + c])}));
  const grey = channels[0].values.every((value, i) => value === channels[1].values[i] && value === channels[2].values[i]);
  return grey ? channels[0] : {...size, channels};
}

// A picture that is only scaled, for data whose own pictures were. A drawing is dark on light, whatever they are.
function whole(source, {size, invert}) {
  const dark = invert || source === board;
  const grey = fitted(luminanceOf(coloursOf(source, Infinity)), size, dark ? 255 : 0);
  return Uint8ClampedArray.from(grey, (value) => (dark ? 255 - value : value));
}

// --- showing ---

function show(model, chosen) {
  const best = readings.map((reading) => model.classes[reading.candidates[0].label]);
  element("text").textContent = best.join("");
  const focused = element("parts").contains(document.activeElement);
  const several = readings.length > 1;
  element("parts").replaceChildren(...readings.map((reading, i) => (several ? part(model, i, chosen) : prepared(model, i))));
  if (focused) element("parts").children[chosen]?.focus();
  const {candidates, note} = readings[chosen];
  element("note").textContent = note;
  element("candidates").replaceChildren(...candidates.map((candidate) => row(model, candidate)));
  const likeliest = candidates.map(({label, probability}) => `${model.classes[label]} ${percent(probability)}`);
  element("spoken").textContent = `${likeliest.join(", ")}. ${note}`;
}

function showNothing(note) {
  for (const id of ["text", "spoken"]) element(id).textContent = "";
  for (const id of ["parts", "candidates"]) element(id).replaceChildren();
  element("note").textContent = note;
}

function prepared(model, i) { // the image that the network reads
  const picture = document.createElement("img");
  picture.alt = `character ${i + 1}, ${model.classes[readings[i].candidates[0].label]}`;
  picture.title = "What the network reads";
  picture.src = asPicture(readings[i].image, model.size);
  return picture;
}

function part(model, i, chosen) {
  const button = document.createElement("button");
  button.type = "button";
  button.ariaPressed = String(i === chosen);
  button.append(prepared(model, i));
  button.addEventListener("click", () => show(model, i));
  return button;
}

function asPicture(image, [height, width]) { // dark on light
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [width, height];
  const context = sheet.getContext("2d"), pixels = context.createImageData(width, height);
  image.forEach((value, i) => pixels.data.set([255 - value, 255 - value, 255 - value, 255], 4 * i));
  context.putImageData(pixels, 0, 0);
  return sheet.toDataURL();
}

function row(model, {label, probability}) {
  const line = document.createElement("li"), name = model.classes[label];
  const cell = (className, text) => {
    const made = document.createElement("span");
    made.className = className;
    made.textContent = text;
    return made;
  };
  const bar = cell("bar", ""), filled = document.createElement("span");
  filled.style.width = `${100 * probability}%`;
  bar.append(filled);
  bar.ariaHidden = "true";
  const single = [...name].length === 1;
  if (!single) line.className = "word";
  const code = single ? `U+${name.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}` : "";
  line.append(cell("name", name), example(model.examples[name]), cell("code", code), bar, cell("share", percent(probability)));
  return line;
}

function example(path) { // as it is written with a brush today
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "example");
  picture.setAttribute("viewBox", "-.1 -.1 1.2 1.2");
  picture.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path ?? "");
  picture.append(line);
  return picture;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// --- drawing ---

function clear() {
  empty();
  element("file").value = ""; // so that the same file can be chosen again
}

function empty() {
  strokes = [];
  redraw();
  showNothing("");
}

function redraw() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, board.width, board.height);
  for (const stroke of strokes) stroke.forEach((to, i) => line(stroke[i - 1] ?? to, to));
  element("undo").disabled = !strokes.length;
}

function undo() {
  strokes.pop();
  redraw();
  if (strokes.length) read(board, BOARD);
  else showNothing("");
}

const place = (event) => {
  const box = board.getBoundingClientRect();
  return [((event.clientX - box.left) * board.width) / box.width, ((event.clientY - box.top) * board.height) / box.height];
};

let pointer = null; // the one that draws: a second finger doesn't
board.addEventListener("pointerdown", (event) => {
  if (pointer !== null) return;
  pointer = event.pointerId;
  board.setPointerCapture(pointer);
  if (!strokes.length) clear();
  strokes.push([place(event)]);
  redraw();
});
board.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const stroke = strokes.at(-1);
  for (const each of event.getCoalescedEvents?.() ?? [event]) {
    stroke.push(place(each));
    line(stroke.at(-2), stroke.at(-1));
  }
});
for (const end of ["pointerup", "pointercancel"]) {
  board.addEventListener(end, (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    read(board, BOARD);
  });
}

function line(from, to) { // a dot, where they are the same
  Object.assign(pen, {lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#222", fillStyle: "#222"});
  pen.beginPath();
  pen.arc(...to, PEN / 2, 0, 2 * Math.PI);
  pen.fill();
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

// --- pictures ---

async function open(file) {
  let picture;
  try {
    picture = await upright(file);
  } catch {
    return showNothing("This is not a picture that the browser can open.");
  }
  if (picture.width * picture.height > MOST_PIXELS) return showNothing("The picture is too large: cut out a character.");
  empty();
  const factor = Math.min(board.width / picture.width, board.height / picture.height);
  const [width, height] = [picture.width * factor, picture.height * factor];
  pen.drawImage(picture, (board.width - width) / 2, (board.height - height) / 2, width, height);
  await read(picture, PICTURE);
}

// A picture turned as its camera says. Browsers do so, but for WebP not all: there the note on it is set to
// "upright" (1) for the browser, and what it said is done here.
async function upright(file) {
  const bytes = new Uint8Array(await file.arrayBuffer()), orientation = takenFromWebP(bytes);
  const picture = await createImageBitmap(new Blob([bytes], {type: file.type}));
  if (orientation < 2 || orientation > 8) return picture;
  const {width, height} = picture, lying = orientation > 4;
  const sheet = new OffscreenCanvas(lying ? height : width, lying ? width : height);
  const context = sheet.getContext("2d"); // a map from the picture's columns and rows to the sheet's
  const maps = {2: [-1, 0, 0, 1, width, 0], 3: [-1, 0, 0, -1, width, height], 4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0], 6: [0, 1, -1, 0, height, 0], 7: [0, -1, -1, 0, height, width], 8: [0, -1, 1, 0, 0, width]};
  context.setTransform(...maps[orientation]);
  context.drawImage(picture, 0, 0);
  return sheet;
}

// The orientation in the EXIF of a WebP, which is set to 1 there; 1 for all else.
function takenFromWebP(bytes) {
  const view = new DataView(bytes.buffer), name = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 16 || name(0) !== "RIFF" || name(8) !== "WEBP") return 1;
  try {
    for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) & 1)) {
      if (name(at) !== "EXIF") continue;
      const tiff = at + 8 + (name(at + 8) === "Exif" ? 6 : 0), little = name(tiff).startsWith("II");
      const entries = tiff + view.getUint32(tiff + 4, little);
      for (let i = 0; i < view.getUint16(entries, little); i++) {
        const entry = entries + 2 + 12 * i;
        if (view.getUint16(entry, little) !== 0x0112) continue;
        const orientation = view.getUint16(entry + 8, little);
        view.setUint16(entry + 8, 1, little);
        return orientation;
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a damaged note is none
  }
  return 1;
}

element("clear").addEventListener("click", clear);
element("undo").addEventListener("click", undo);
element("file").addEventListener("change", (event) => event.target.files[0] && open(event.target.files[0]));
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) open(file);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    board.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
clear();
