// The page: takes a picture, asks the network in a worker, and shows the answer. It requests nothing.
const $ = (id) => document.getElementById(id);
const model = JSON.parse($("model").textContent), size = model.size;
const percent = (share) => `${Math.round(100 * share)} %`;
let source = null, chosen = null; // the picture as a canvas, and the class whose evidence is shown

// A worker computes, so that the page never freezes; where a browser allows none, the page computes itself.
function makeAsk() {
  const waiting = new Map();
  let number = 0;
  try {
    const code = `${makeNetwork}; let net; onmessage = ({data: [id, question]}) => {
      if (id === 0) net = makeNetwork(question); else postMessage([id, net(question)]); };`;
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    worker.postMessage([0, model]);
    worker.onmessage = ({ data: [id, answer] }) => { waiting.get(id)(answer); waiting.delete(id); };
    worker.onerror = (error) => problem(`The network stopped: ${error.message}`);
    return (question) => new Promise((done) => { waiting.set(++number, done); worker.postMessage([number, question]); });
  } catch {
    const net = makeNetwork(model);
    return async (question) => net(question);
  }
}
const ask = makeAsk();
const problem = (text) => { $("problem").textContent = text; };

// Return the pixels of the middle square, from 0 to 1: each is the mean of a square of the picture.
function pixelsOf(picture, light = 1) {
  const side = Math.min(picture.width, picture.height), factor = Math.max(1, Math.min(16, Math.floor(side / size)));
  const canvas = build("canvas", "");
  canvas.width = canvas.height = size * factor;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // under transparent pixels
  context.fillRect(0, 0, canvas.width, canvas.width);
  context.imageSmoothingQuality = "high";
  const left = (picture.width - side) / 2, top = (picture.height - side) / 2;
  context.drawImage(picture, left, top, side, side, 0, 0, canvas.width, canvas.width);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.width), pixels = new Float32Array(3 * size * size);
  for (let y = 0; y < canvas.width; y++) for (let x = 0; x < canvas.width; x++)
    for (let c = 0; c < 3; c++)
      pixels[(Math.floor(y / factor) * size + Math.floor(x / factor)) * 3 + c] += data[(y * canvas.width + x) * 4 + c];
  return pixels.map((sum) => Math.min(1, light * sum / (255 * factor * factor)));
}

function paint(canvas, rgba) {
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) image.data.set(rgba(i), 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Ask about the present picture; while the network computes, only the newest question waits.
let busy = false, again = false;
async function update() {
  if (!source) return;
  if (busy) { again = true; return; }
  busy = true;
  const pixels = pixelsOf(source, Number($("light").value));
  paint($("picture"), (i) => [...pixels.subarray(3 * i, 3 * i + 3)].map((v) => Math.round(255 * v)).concat(255));
  show(await ask({ pixels, label: chosen }), pixels);
  busy = false;
  if (again) { again = false; update(); }
}

function show({ p, gates, map, label, ms }, pixels) {
  const best = p.indexOf(Math.max(...p));
  $("answer").textContent = `${model.classes[best]}, ${percent(p[best])}`;
  $("picture").setAttribute("aria-label", `The picture as the network sees it. Its answer: ${$("answer").textContent}`);
  [...$("scores").children].forEach((row, i) => {
    row.setAttribute("aria-pressed", i === label);
    row.querySelector("i").style.transform = `scaleX(${p[i]})`;
    row.querySelector(".value").textContent = percent(p[i]);
  });
  $("class").textContent = model.classes[label];
  if (map) paint($("map"), (i) => { // the rest becomes grey and darker
    const grey = 42 * (pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2]);
    return [grey, grey, grey, 245 * (1 - map[i])];
  });
  [...$("blocks").children].forEach((block, n) => gates[n].forEach((a, j) => {
    block.querySelectorAll(".stack i")[j].style.flexGrow = Math.max(a, 0);
    block.querySelectorAll(".key b")[j].textContent = percent(a);
  }));
  document.body.dataset.ms = Math.round(ms);
}

async function read(file) {
  try {
    take(await createImageBitmap(file));
  } catch {
    problem("This file cannot be read as a picture. Choose a JPEG or PNG file.");
  }
}

function take(picture, button = null) {
  problem("");
  source = picture;
  chosen = null;
  $("light").value = 1;
  for (const sample of $("samples").children) sample.setAttribute("aria-pressed", sample === button);
  update();
}

function build(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

model.classes.forEach((name, i) => {
  const row = build("button", "score"), track = build("span", "track");
  track.append(build("i", ""));
  row.append(build("span", "label", name), track, build("span", "value"));
  row.addEventListener("click", () => { chosen = i; update(); });
  $("scores").append(row);
});
model.gates.forEach(({ name, texts }) => {
  const block = build("div", "block"), stack = build("div", "stack"), key = build("div", "key");
  texts.forEach((text, j) => {
    const item = build("span", `b${j % 5}`, `${text.replace(/^conv (\S+)$/, "$1")} `);
    item.append(build("b", ""));
    stack.append(build("i", `b${j % 5}`));
    key.append(item);
  });
  block.append(build("span", "", name.replace(/(\d+)/, " $1")), stack, key);
  $("blocks").append(block);
});
$("gates").hidden = !model.gates.length;
$("camera").parentElement.hidden = !navigator.maxTouchPoints; // a computer without a touch screen is no camera
$("looks").hidden = model.map === null;
$("show").addEventListener("change", () => $("map").classList.toggle("off", !$("show").checked));
$("light").addEventListener("input", update);
for (const id of ["file", "camera"]) $(id).addEventListener("change", () => {
  if ($(id).files[0]) read($(id).files[0]);
  $(id).value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.toggle("over", kind === "dragover");
  if (kind === "drop" && event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files[0]) read(event.clipboardData.files[0]);
});

// The samples, and the proof: the page computes them all, and compares its answers with PyTorch's.
async function start() {
  const buttons = [...$("samples").children], pictures = [];
  for (const button of buttons) {
    const image = button.querySelector("img");
    await image.decode();
    pictures.push(await createImageBitmap(image));
    button.addEventListener("click", () => take(pictures[buttons.indexOf(button)], button));
  }
  take(pictures[0], buttons[0]);
  let difference = 0;
  for (let n = 0; n < pictures.length; n++) {
    const { p } = await ask({ pixels: pixelsOf(pictures[n]), label: null });
    difference = Math.max(difference, ...p.map((value, i) => Math.abs(value - model.expected[n][i])));
  }
  const text = `Compared with PyTorch on ${pictures.length} pictures: the largest difference of a probability is`;
  $("proof").textContent = `${text} ${difference.toExponential(0)}. One picture takes ${document.body.dataset.ms} ms here.`;
  document.body.dataset.difference = difference;
}
start();
