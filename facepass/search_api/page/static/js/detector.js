// Finds faces in a small picture, in the browser: YuNet (OpenCV Zoo, MIT) without its landmarks.
//
// Tensors are {channels, width, height, data}: one plane after the other in a Float32Array. The weights come from the
// server (embedding/browser_detector.py) in the order in which `createDetector` reads them.

const STRIDES = [8, 16, 32];
const CELL = 32; // the picture's sides are filled up to multiples of this
const OVERLAP = 0.3; // of two boxes that share more than this of their union, only the better counts

/**
 * @param {ArrayBuffer} weights 16-bit floats, little-endian
 * @returns {(picture: ImageData) => {x: number, y: number, width: number, height: number, score: number}[]}
 *     faces in pixels of the picture, the best first
 */
export function createDetector(weights) {
  const layers = readLayers(weights);
  return (picture) => {
    const level = (input, units) => units.reduce((tensor, unit) => runUnit(tensor, unit), input);
    let tensor = runUnit(runHead(toTensor(picture), layers.head), layers.first);
    tensor = level(maxPool(tensor), layers.early);
    const at8 = level(maxPool(tensor), layers.at8);
    const at16 = level(maxPool(at8), layers.at16);
    const at32 = level(maxPool(at16), layers.at32);
    const out32 = runUnit(at32, layers.lateral[0]);
    const out16 = runUnit(addEnlarged(at16, out32), layers.lateral[1]);
    const out8 = runUnit(addEnlarged(at8, out16), layers.lateral[2]);
    const found = [out8, out16, out32].flatMap((features, index) =>
      decode(features, layers.scores[index], layers.boxes[index], layers.objects[index], STRIDES[index]),
    );
    return withoutOverlaps(found.sort((one, other) => other.score - one.score));
  };
}

function readLayers(buffer) {
  const values = fromHalves(new Uint16Array(buffer));
  let position = 0;
  const take = (count) => values.subarray(position, (position += count));
  const unit = (inputs, outputs, relu = true) => ({
    inputs,
    outputs,
    relu,
    mix: take(inputs * outputs),
    mixBias: take(outputs),
    spread: take(outputs * 9),
    spreadBias: take(outputs),
  });
  const units = (...sizes) => sizes.slice(1).map((outputs, index) => unit(sizes[index], outputs));
  const heads = (outputs) => STRIDES.map(() => unit(64, outputs, false));
  // an object literal is evaluated in its order, which is the file's
  const layers = {
    head: { weights: take(16 * 27), bias: take(16) },
    first: unit(16, 16),
    early: units(16, 16, 32, 32, 64),
    at8: units(64, 64, 64),
    at16: units(64, 64, 64),
    at32: units(64, 64, 64),
    lateral: units(64, 64, 64, 64),
    scores: heads(1),
    boxes: heads(4),
    objects: heads(1),
  };
  if (position !== values.length) throw new Error("the detector's weights have another size");
  return layers;
}

function fromHalves(halves) {
  const values = new Float32Array(halves.length);
  halves.forEach((half, index) => {
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14;
    values[index] = half & 0x8000 ? -size : size;
  });
  return values;
}

function blank(channels, width, height) {
  return { channels, width, height, data: new Float32Array(channels * width * height) };
}

function toTensor(picture) {
  const tensor = blank(3, Math.ceil(picture.width / CELL) * CELL, Math.ceil(picture.height / CELL) * CELL);
  const plane = tensor.width * tensor.height;
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      const from = (y * picture.width + x) * 4;
      const to = y * tensor.width + x;
      tensor.data[to] = picture.data[from + 2]; // blue first, as OpenCV has it
      tensor.data[plane + to] = picture.data[from + 1];
      tensor.data[2 * plane + to] = picture.data[from];
    }
  }
  return tensor;
}

function runHead(input, { weights, bias }) {
  const output = blank(16, input.width / 2, input.height / 2);
  const area = output.width * output.height;
  for (let channel = 0; channel < 16; channel++) {
    const to = output.data.subarray(channel * area, (channel + 1) * area).fill(bias[channel]);
    for (let from = 0; from < 3; from++) {
      const kernel = weights.subarray((channel * 3 + from) * 9, (channel * 3 + from) * 9 + 9);
      addFiltered(bordered(input, from), kernel, to, output.width, output.height, 2);
    }
  }
  return rectified(output);
}

function runUnit(input, unit) {
  const mixed = blank(unit.outputs, input.width, input.height);
  const area = input.width * input.height;
  for (let channel = 0; channel < unit.outputs; channel++) {
    const to = mixed.data.subarray(channel * area, (channel + 1) * area).fill(unit.mixBias[channel]);
    addMixed(input.data, unit.mix.subarray(channel * unit.inputs, (channel + 1) * unit.inputs), to);
  }
  const output = blank(unit.outputs, input.width, input.height);
  for (let channel = 0; channel < unit.outputs; channel++) {
    const to = output.data.subarray(channel * area, (channel + 1) * area).fill(unit.spreadBias[channel]);
    const kernel = unit.spread.subarray(channel * 9, channel * 9 + 9);
    addFiltered(bordered(mixed, channel), kernel, to, output.width, output.height, 1);
  }
  return unit.relu ? rectified(output) : output;
}

// Four planes a turn: `to` is read and written a quarter as often. Every number of channels is a multiple of four.
function addMixed(planes, factors, to) {
  const area = to.length;
  for (let channel = 0; channel < factors.length; channel += 4) {
    const [f0, f1, f2, f3] = factors.subarray(channel, channel + 4);
    const a = channel * area;
    const b = a + area;
    const c = b + area;
    const d = c + area;
    for (let at = 0; at < area; at++) {
      to[at] += f0 * planes[a + at] + f1 * planes[b + at] + f2 * planes[c + at] + f3 * planes[d + at];
    }
  }
}

/** One plane with a border of zeros around it. */
function bordered({ width, height, data }, channel) {
  const plane = { stride: width + 2, data: new Float32Array((width + 2) * (height + 2)) };
  for (let y = 0; y < height; y++) {
    const begin = (channel * height + y) * width;
    plane.data.set(data.subarray(begin, begin + width), (y + 1) * plane.stride + 1);
  }
  return plane;
}

function addFiltered({ stride, data }, kernel, to, width, height, step) {
  const [k0, k1, k2, k3, k4, k5, k6, k7, k8] = kernel;
  for (let y = 0; y < height; y++) {
    let above = y * step * stride;
    let here = above + stride;
    let below = here + stride;
    const end = (y + 1) * width;
    for (let at = y * width; at < end; at++, above += step, here += step, below += step) {
      to[at] +=
        k0 * data[above] + k1 * data[above + 1] + k2 * data[above + 2] +
        k3 * data[here] + k4 * data[here + 1] + k5 * data[here + 2] +
        k6 * data[below] + k7 * data[below + 1] + k8 * data[below + 2];
    }
  }
}

function rectified(tensor) {
  const { data } = tensor;
  for (let at = 0; at < data.length; at++) if (data[at] < 0) data[at] = 0;
  return tensor;
}

function maxPool(input) {
  const output = blank(input.channels, input.width / 2, input.height / 2);
  const { data, width } = input;
  for (let row = 0, to = 0; row < output.channels * output.height; row++) {
    for (let at = row * 2 * width, end = at + width; at < end; at += 2) {
      output.data[to++] = Math.max(data[at], data[at + 1], data[at + width], data[at + width + 1]);
    }
  }
  return output;
}

function addEnlarged(large, small) {
  const output = { ...large, data: large.data.slice() };
  for (let row = 0, to = 0; row < large.channels * large.height; row++) {
    // an even height: two rows of the large tensor lie over one row of the small one
    const from = (row >> 1) * small.width;
    for (let x = 0; x < large.width; x++) output.data[to++] += small.data[from + (x >> 1)];
  }
  return output;
}

function decode(features, scoreUnit, boxUnit, objectUnit, stride) {
  const scores = runUnit(features, scoreUnit).data;
  const boxes = runUnit(features, boxUnit).data;
  const objects = runUnit(features, objectUnit).data;
  const area = features.width * features.height;
  const found = [];
  for (let cell = 0; cell < area; cell++) {
    const score = Math.sqrt(logistic(scores[cell]) * logistic(objects[cell]));
    if (score < 0.5) continue;
    const width = Math.exp(boxes[2 * area + cell]) * stride;
    const height = Math.exp(boxes[3 * area + cell]) * stride;
    const x = ((cell % features.width) + boxes[cell]) * stride - width / 2;
    const y = (Math.floor(cell / features.width) + boxes[area + cell]) * stride - height / 2;
    found.push({ x, y, width, height, score });
  }
  return found;
}

function logistic(value) {
  return 1 / (1 + Math.exp(-value));
}

function withoutOverlaps(boxes) {
  const kept = [];
  for (const box of boxes) if (kept.every((better) => overlap(better, box) <= OVERLAP)) kept.push(box);
  return kept;
}

function overlap(one, other) {
  const across = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
  const down = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
  const shared = Math.max(0, across) * Math.max(0, down);
  return shared / (one.width * one.height + other.width * other.height - shared);
}
