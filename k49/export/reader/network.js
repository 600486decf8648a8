// The network: its weights from the page, and an image's way through it. Values are (H, W, C), flat.

async function loadModel(base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const model = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  let at = 4 + length;
  for (const array of model.operations.flatMap(({arrays}) => Object.values(arrays))) {
    const size = array.shape.reduce((a, b) => a * b), scales = new Float32Array(bytes.slice(at, at + 4 * array.scales));
    const steps = new Int8Array(bytes, at + 4 * array.scales, size);
    at += 4 * array.scales + size;
    array.values = Float32Array.from(steps, (step, i) => step * scales[i % array.scales]);
  }
  return model;
}

// Probabilities of the classes, and how unlike the training images it is, of an image (H * W), 0 to 255.
function readImage(model, image) {
  const results = new Map([["image", {shape: [...model.size, 1], values: Float32Array.from(image)}]]);
  for (const operation of model.operations) {
    const takes = operation.takes.map((name) => results.get(name));
    results.set(operation.name, OPERATIONS[operation.kind](operation, ...takes));
  }
  const logits = results.get(model.logits).values;
  const features = model.hidden.flatMap((name) => [...meanOfPixels(results.get(name)).values]);
  features.push(...logits, ...Float32Array.from(logits).sort().reverse());
  const score = features.reduce((sum, x, i) => sum + x * model.detector.weights[i], model.detector.bias);
  return {probabilities: results.get(model.operations.at(-1).name).values, score};
}

const eachValue = (f) => (operation, x) => ({shape: x.shape, values: x.values.map(f)});

const OPERATIONS = {
  scale: (operation, x) => ({shape: x.shape, values: x.values.map((value) => value * operation.by)}),
  flatten: (operation, x) => ({shape: [x.values.length], values: x.values}),
  relu: eachValue((x) => Math.max(x, 0)),
  tanh: eachValue(Math.tanh),
  sigmoid: eachValue((x) => 1 / (1 + Math.exp(-x))),
  softmax: (operation, x) => ({shape: x.shape, values: softmax(x)}),
  add: (operation, x, y) => ({shape: x.shape, values: x.values.map((value, i) => value + y.values[i])}),
  affine: (operation, x) => ({
    shape: x.shape,
    values: x.values.map((value, i) => {
      const channel = i % x.shape.at(-1);
      return value * operation.arrays.factor.values[channel] + operation.arrays.shift.values[channel];
    }),
  }),
  mean: (operation, x) => meanOfPixels(x),
  average_pool: (operation, x) => pool(operation.size, x, (a, b) => a + b, operation.size ** 2),
  max_pool: (operation, x) => pool(operation.size, x, Math.max, 1),
  dense,
  convolve,
};

function dense(operation, x) {
  const [inputs, outputs] = operation.arrays.kernel.shape, kernel = operation.arrays.kernel.values;
  const values = Float32Array.from(operation.arrays.bias.values);
  for (let i = 0; i < inputs; i++) {
    const value = x.values[i];
    if (value === 0) continue; // as most are, after a relu
    for (let o = 0, at = i * outputs; o < outputs; o++, at++) values[o] += value * kernel[at];
  }
  return {shape: [outputs], values};
}

function convolve(operation, x) {
  const [height, width, inputs] = x.shape, [rows, columns, , outputs] = operation.arrays.kernel.shape;
  const kernel = operation.arrays.kernel.values, bias = operation.arrays.bias.values;
  const each = outputs / operation.groups; // outputs of a channel, if there is a group for each
  const above = operation.padded ? (rows - 1) >> 1 : 0, left = operation.padded ? (columns - 1) >> 1 : 0;
  const tall = operation.padded ? height : height - rows + 1;
  const wide = operation.padded ? width : width - columns + 1;
  const values = new Float32Array(tall * wide * outputs), sum = new Float32Array(outputs);
  for (let y = 0; y < tall; y++) {
    for (let z = 0; z < wide; z++) {
      sum.set(bias);
      for (let r = Math.max(0, above - y); r < Math.min(rows, height + above - y); r++) {
        for (let c = Math.max(0, left - z); c < Math.min(columns, width + left - z); c++) {
          const from = ((y + r - above) * width + z + c - left) * inputs;
          for (let i = 0; i < inputs; i++) {
            const value = x.values[from + i];
            if (value === 0) continue;
            if (operation.groups > 1) {
              const at = (r * columns + c) * outputs;
              for (let o = i * each; o < (i + 1) * each; o++) sum[o] += value * kernel[at + o];
            } else {
              const at = ((r * columns + c) * inputs + i) * outputs;
              for (let o = 0; o < outputs; o++) sum[o] += value * kernel[at + o];
            }
          }
        }
      }
      values.set(sum, (y * wide + z) * outputs);
    }
  }
  return {shape: [tall, wide, outputs], values};
}

function pool(size, x, join, by) {
  const [height, width, channels] = x.shape, tall = Math.floor(height / size), wide = Math.floor(width / size);
  const values = new Float32Array(tall * wide * channels);
  for (let y = 0; y < tall; y++) {
    for (let z = 0; z < wide; z++) {
      for (let channel = 0; channel < channels; channel++) {
        let joined;
        for (let r = 0; r < size; r++) {
          for (let c = 0; c < size; c++) {
            const value = x.values[((y * size + r) * width + z * size + c) * channels + channel];
            joined = joined === undefined ? value : join(joined, value);
          }
        }
        values[(y * wide + z) * channels + channel] = joined / by;
      }
    }
  }
  return {shape: [tall, wide, channels], values};
}

function meanOfPixels(x) {
  const channels = x.shape.at(-1), pixels = x.values.length / channels;
  const values = new Float32Array(channels);
  x.values.forEach((value, i) => (values[i % channels] += value / pixels));
  return {shape: [channels], values};
}

function softmax(x) {
  const channels = x.shape.at(-1), values = new Float32Array(x.values.length);
  for (let start = 0; start < values.length; start += channels) {
    const row = x.values.subarray(start, start + channels), highest = Math.max(...row);
    const odds = Array.from(row, (value) => Math.exp(value - highest));
    const sum = odds.reduce((a, b) => a + b);
    odds.forEach((value, i) => (values[start + i] = value / sum));
  }
  return values;
}
