"use strict";
// Computes the network. A step takes the outputs of earlier steps. A map is a Float32Array (row, column, channel), so
// that the inner loops run over neighbouring numbers. `forward` fills Y from the inputs; `backward` adds to the
// gradients dX of the inputs, from dY. Grad-CAM needs `backward` for the steps behind its maps only.
function makeNetwork(model) {
  const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const floats = new Float32Array(decode(model.floats));
  const halves = Float32Array.from(new Uint16Array(decode(model.halves)), (h) => {
    const exponent = (h >> 10) & 31, fraction = (h & 1023) / 1024;
    const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
    return h >> 15 ? -size : size;
  });
  const vector = ([start, end]) => floats.subarray(start, end);
  const matrix = ([start, end]) => halves.subarray(start, end);
  const count = (shape) => shape.reduce((product, n) => product * n, 1);

  function erf(x) { // Abramowitz and Stegun, 7.1.26: right to 1.5e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - sum * Math.exp(-x * x));
  }
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const normal = (x) => (1 + erf(x * Math.SQRT1_2)) / 2;

  function elementwise(f, slope) {
    return {
      forward(step, [X], Y) { for (let i = 0; i < Y.length; i++) Y[i] = f(X[i], step); },
      backward(step, [X], Y, dY, [dX]) { for (let i = 0; i < Y.length; i++) dX[i] += dY[i] * slope(X[i], step); },
    };
  }

  // Call visit(output, input, kernel) for each output pixel and each pixel of its window: where their numbers begin.
  function windows(step, [C, H = 1, W = 1], visit) {
    const [D, h = 1, w = 1] = step.shape, { size, stride, padding } = step;
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++)
      for (let v = 0; v < size; v++) for (let u = 0; u < size; u++) {
        const row = y * stride + v - padding, column = x * stride + u - padding;
        if (row < 0 || row >= H || column < 0 || column >= W) continue;
        visit((y * w + x) * D, (row * W + column) * C, (v * size + u) * C * D);
      }
  }

  function pooled(step, [C, , W], visit) {
    let out = 0;
    for (const [top, bottom] of step.rows) for (const [left, right] of step.columns)
      for (let c = 0; c < C; c++, out++) {
        const pixels = [];
        for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) pixels.push((y * W + x) * C + c);
        visit(out, pixels);
      }
  }
  const argmax = (X, pixels) => pixels.reduce((best, i) => (X[i] > X[best] ? i : best), pixels[0]);

  const operations = {
    gelu: elementwise((x) => x * normal(x), (x) => normal(x) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI)),
    leaky: elementwise((x, { slope }) => (x > 0 ? x : slope * x), (x, { slope }) => (x > 0 ? 1 : slope)),
    sigmoid: elementwise(sigmoid, (x) => sigmoid(x) * (1 - sigmoid(x))),
    tanh: elementwise(Math.tanh, (x) => 1 - Math.tanh(x) ** 2),
    scale: elementwise((x, { factor }) => factor * x, (x, { factor }) => factor),
    conv: {
      forward(step, [X], Y, [shape]) {
        const weight = matrix(step.weight), bias = vector(step.bias), D = bias.length, C = shape[0];
        for (let i = 0; i < Y.length; i += D) Y.set(bias, i);
        windows(step, shape, (out, i, k) => {
          let c = 0;
          for (; c + 4 <= C; c += 4, k += 4 * D) { // four channels at a time: Y is read and written less often
            const a = X[i + c], b = X[i + c + 1], e = X[i + c + 2], f = X[i + c + 3];
            for (let d = 0, q = k; d < D; d++, q++)
              Y[out + d] += a * weight[q] + b * weight[q + D] + e * weight[q + 2 * D] + f * weight[q + 3 * D];
          }
          for (; c < C; c++, k += D) for (let d = 0; d < D; d++) Y[out + d] += X[i + c] * weight[k + d];
        });
      },
      backward(step, X, Y, dY, [dX], [shape]) {
        const weight = matrix(step.weight), D = step.shape[0], C = shape[0];
        windows(step, shape, (out, i, k) => {
          for (let c = 0; c < C; c++, k += D) {
            let sum = 0;
            for (let d = 0; d < D; d++) sum += dY[out + d] * weight[k + d];
            dX[i + c] += sum;
          }
        });
      },
    },
    affine: { // batch norm, with its statistics of the training
      forward(step, [X], Y) {
        const scale = vector(step.scale), shift = vector(step.shift), C = scale.length;
        for (let i = 0; i < Y.length; i++) Y[i] = X[i] * scale[i % C] + shift[i % C];
      },
      backward(step, X, Y, dY, [dX]) {
        const scale = vector(step.scale), C = scale.length;
        for (let i = 0; i < dX.length; i++) dX[i] += dY[i] * scale[i % C];
      },
    },
    pool: {
      forward(step, [X], Y, [shape]) {
        const mean = (pixels) => pixels.reduce((sum, i) => sum + X[i], 0) / pixels.length;
        pooled(step, shape, (out, pixels) => { Y[out] = step.kind === "max" ? X[argmax(X, pixels)] : mean(pixels); });
      },
      backward(step, [X], Y, dY, [dX], [shape]) {
        pooled(step, shape, (out, pixels) => {
          if (step.kind === "max") dX[argmax(X, pixels)] += dY[out];
          else for (const i of pixels) dX[i] += dY[out] / pixels.length;
        });
      },
    },
    flatten: { // in torch's order: (channel, row, column)
      forward(step, [X], Y, [[C]]) {
        const pixels = X.length / C;
        for (let i = 0; i < X.length; i++) Y[(i % C) * pixels + Math.floor(i / C)] = X[i];
      },
      backward(step, X, Y, dY, [dX], [[C]]) {
        const pixels = dX.length / C;
        for (let i = 0; i < dX.length; i++) dX[i] += dY[(i % C) * pixels + Math.floor(i / C)];
      },
    },
    softmax: {
      forward(step, [X], Y) { Y.set(softmax(X.map((x) => x / step.temperature))); },
      backward(step, X, Y, dY, [dX]) {
        const mean = Y.reduce((sum, p, i) => sum + p * dY[i], 0);
        for (let i = 0; i < Y.length; i++) dX[i] += Y[i] * (dY[i] - mean) / step.temperature;
      },
    },
    constant: { forward(step, X, Y) { Y.fill(step.value); }, backward() {} },
    add: {
      forward(step, [X, Z], Y) { for (let i = 0; i < Y.length; i++) Y[i] = X[i] + Z[i]; },
      backward(step, X, Y, dY, dX) { for (const d of dX) for (let i = 0; i < dY.length; i++) d[i] += dY[i]; },
    },
    mix: { // the sum of a gated block: a holds one weight for each map
      forward(step, [a, ...maps], Y) {
        maps.forEach((X, j) => { for (let i = 0; i < Y.length; i++) Y[i] += a[j] * X[i]; });
      },
      backward(step, [a, ...maps], Y, dY, [da, ...dX]) {
        maps.forEach((X, j) => {
          for (let i = 0; i < dY.length; i++) {
            dX[j][i] += a[j] * dY[i];
            da[j] += X[i] * dY[i];
          }
        });
      },
    },
  };

  function softmax(scores) {
    const highest = Math.max(...scores), powers = Array.from(scores, (score) => Math.exp(score - highest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  // Return the outputs of all steps for pixels from 0 to 1.
  function run(pixels) {
    const outputs = [];
    for (const step of model.steps) {
      const Y = new Float32Array(count(step.shape));
      if (step.op === "input") pixels.forEach((pixel, i) => { Y[i] = (pixel - model.mean[i % 3]) / model.std[i % 3]; });
      else operations[step.op].forward(step, step.from.map((i) => outputs[i]), Y, shapes(step));
      outputs.push(Y);
    }
    return outputs;
  }
  const shapes = (step) => step.from.map((i) => model.steps[i].shape);

  // Grad-CAM: the maps, each times the mean gradient of the score of a class; enlarged, and the highest value is 1.
  function explain(outputs, label) {
    const gradients = outputs.map((Y) => new Float32Array(Y.length));
    gradients[model.scores][label] = 1;
    for (let n = model.scores; n > model.map; n--) {
      const step = model.steps[n], of = (lists) => step.from.map((i) => lists[i]);
      operations[step.op].backward(step, of(outputs), outputs[n], gradients[n], of(gradients), shapes(step));
    }
    const [C, H, W] = model.steps[model.map].shape, maps = outputs[model.map];
    const mean = new Float32Array(C), small = new Float32Array(H * W);
    gradients[model.map].forEach((d, i) => { mean[i % C] += d / (H * W); });
    maps.forEach((value, i) => { small[Math.floor(i / C)] += value * mean[i % C]; });
    const large = enlarge(small.map((value) => Math.max(value, 0)), H, W, model.size);
    const highest = Math.max(...large);
    return large.map((value) => value / (highest || 1));
  }

  function enlarge(small, H, W, size) { // bilinear, as torch's interpolate does it
    const places = (length) => Array.from({ length: size }, (_, i) => {
      const place = Math.max(0, (i + 0.5) * length / size - 0.5), low = Math.floor(place);
      return [low, Math.min(low + 1, length - 1), place - low];
    });
    const large = new Float32Array(size * size), columns = places(W);
    places(H).forEach(([top, bottom, down], y) => columns.forEach(([left, right, along], x) => {
      const row = (r) => small[r * W + left] * (1 - along) + small[r * W + right] * along;
      large[y * size + x] = row(top) * (1 - down) + row(bottom) * down;
    }));
    return large;
  }

  // Answer one question of the page: {pixels, label}; label is null for the most probable class.
  return function answer({ pixels, label }) {
    const start = performance.now(), outputs = run(pixels), p = softmax(outputs[model.scores]);
    const shown = label ?? p.indexOf(Math.max(...p));
    const map = model.map === null ? null : explain(outputs, shown);
    const gates = model.gates.map(({ step }) => Array.from(outputs[step]));
    return { p, gates, map, label: shown, ms: performance.now() - start };
  };
}
