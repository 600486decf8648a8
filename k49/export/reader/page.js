// The page: takes drawings and pictures, shows what the network makes of them.

const SHOWN = 5, PEN = 14, BOARD = 112; // candidates; a pen's width; pixels at which a drawing is read
const MOST_PIXELS = 50e6, PICTURE = 2048; // of a picture; pixels at which it is read, at most
const board = document.getElementById("board"), pen = board.getContext("2d", {willReadFrequently: true});
const element = (id) => document.getElementById(id);
const ready = loadModel(MODEL);
let drawn = false, readings = [];

// --- reading ---

// The first readings take five times as long, until the browser has compiled what they need: take them now.
ready.then((model) => {
  const pixels = Float32Array.from({length: BOARD ** 2}, (_, i) => (Math.abs((i % BOARD) - BOARD / 2) < 4 && i > 999 ? 0 : 255));
  for (let time = 0; time < 4; time++) {
    const [image] = characters({height: BOARD, width: BOARD, values: pixels}, model.size);
    readImage(model, image);
  }
});

async function read(source, side) {
  const model = await ready, size = model.size;
  const start = performance.now();
  try {
    const images = model.normalize === "ink" ? characters(greyOf(source, side), size) : [whole(source, model)];
    readings = images.map((image) => ({image, ...judged(model, readImage(model, image))}));
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
  if (model.outlier !== null && score > model.outlier) note = "Unlike all that it was trained on: is it one such character?";
  else if (candidates[0].probability < model.certain) note = "Uncertain.";
  return {candidates, note};
}

// A picture as {height, width, values}: grey as Pillow makes it, on white paper, `side` pixels at most.
function greyOf(source, side) {
  const width = source.width, height = source.height, factor = Math.min(1, side / Math.max(width, height));
  const sheet = new OffscreenCanvas(Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor)));
  const context = sheet.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, sheet.width, sheet.height);
  const {data} = context.getImageData(0, 0, sheet.width, sheet.height);
  const values = new Float32Array(sheet.width * sheet.height);
  for (let i = 0; i < values.length; i++) {
    values[i] = (data[4 * i] * 19595 + data[4 * i + 1] * 38470 + data[4 * i + 2] * 7471 + 32768) >> 16;
  }
  return {height: sheet.height, width: sheet.width, values};
}

// A picture that is only scaled, for data whose own pictures were.
function whole(source, {size, invert}) {
  const grey = fitted(greyOf(source, Infinity), size, invert ? 255 : 0);
  return Uint8ClampedArray.from(grey, (value) => (invert ? 255 - value : value));
}

// --- showing ---

function show(model, chosen) {
  const best = readings.map((reading) => model.classes[reading.candidates[0].label]);
  element("text").textContent = best.join("");
  element("parts").replaceChildren(...(readings.length > 1 ? readings.map((reading, i) => part(model, i, chosen)) : []));
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

function part(model, i, chosen) {
  const button = document.createElement("button"), picture = document.createElement("img");
  button.type = "button";
  button.ariaPressed = String(i === chosen);
  picture.alt = `character ${i + 1}, ${model.classes[readings[i].candidates[0].label]}`;
  picture.src = asPicture(readings[i].image, model.size);
  button.append(picture);
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
  pen.fillStyle = "white";
  pen.fillRect(0, 0, board.width, board.height);
  drawn = false;
  showNothing("");
}

const place = (event) => {
  const box = board.getBoundingClientRect();
  return [((event.clientX - box.left) * board.width) / box.width, ((event.clientY - box.top) * board.height) / box.height];
};

let last = null;
board.addEventListener("pointerdown", (event) => {
  board.setPointerCapture(event.pointerId);
  if (!drawn) clear();
  last = place(event);
  line(last);
});
board.addEventListener("pointermove", (event) => {
  if (last) for (const each of event.getCoalescedEvents?.() ?? [event]) line(place(each));
});
for (const end of ["pointerup", "pointercancel"]) {
  board.addEventListener(end, () => {
    if (last) read(board, BOARD);
    last = null;
  });
}

function line(to) {
  Object.assign(pen, {lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#222"});
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...to);
  pen.stroke();
  [last, drawn] = [to, true];
}

// --- pictures ---

async function open(file) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return showNothing("This is not a picture that the browser can open.");
  }
  if (picture.width * picture.height > MOST_PIXELS) return showNothing("The picture is too large: cut out a character.");
  clear();
  const factor = Math.min(board.width / picture.width, board.height / picture.height);
  const [width, height] = [picture.width * factor, picture.height * factor];
  pen.drawImage(picture, (board.width - width) / 2, (board.height - height) / 2, width, height);
  await read(picture, PICTURE);
}

element("clear").addEventListener("click", clear);
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
