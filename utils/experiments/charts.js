// Owns the comparison page's charts, as SVG. Which runs they show, and all tools, are page.js's.
"use strict";
const WIDTH = 440, HEIGHT = 270, LEFT = 40, BOTTOM = 34, TOP = 8, RIGHT = 10;

function chosen() {
  if (view.runs) return view.runs.map((name) => byName.get(name));
  return listed.filter((run) => run.curve.length).slice(0, FIRST);
}

function look(i) {
  return { stroke: `var(--c${i % 7})`, "stroke-dasharray": DASHES[(i + Math.floor(i / 7)) % 7] };
}

function ticks(low, high, count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step || 0); // never -0
  return found;
}

function decades(low, high) {
  const found = [];
  for (let e = Math.floor(low); e <= Math.ceil(high); e++) {
    for (const by of high - low > 2.2 ? [1] : [1, 2, 5]) found.push(e + Math.log10(by));
  }
  return found.filter((value) => value >= low - 1e-9 && value <= high + 1e-9);
}

// Draws axes for points [x, y]; returns the svg and the function from a point to its place.
function axes(parent, points, { xLabel, log = false, fromZero = false }) {
  const among = (pick, values) => values.reduce((a, b) => pick(a, b));
  let [x0, x1] = [Math.min, Math.max].map((pick) => among(pick, points.map((point) => point[0])));
  let [y0, y1] = [Math.min, Math.max].map((pick) => among(pick, points.map((point) => 100 * point[1])));
  if (fromZero) x0 = 0;
  if (x1 - x0 < 1e-9) [x0, x1] = log ? [x0 - 0.5, x1 + 0.5] : [x0 - (fromZero ? 0 : 0.5), x1 + 0.5];
  else if (log) [x0, x1] = [x0 - 0.15, x1 + 0.15];
  const pad = Math.max((y1 - y0) * 0.06, 0.5);
  [y0, y1] = [Math.max(0, y0 - pad), Math.min(100, y1 + pad)];
  const X = (x) => LEFT + (WIDTH - LEFT - RIGHT) * (x - x0) / (x1 - x0);
  const Y = (y) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (100 * y - y0) / (y1 - y0));
  const svg = draw(parent, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  for (const y of ticks(y0, y1)) {
    draw(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: Y(y / 100), y2: Y(y / 100) });
    draw(svg, "text", { x: LEFT - 5, y: Y(y / 100) + 4, "text-anchor": "end" }, number(y));
  }
  for (const x of log ? decades(x0, x1) : ticks(x0, x1)) {
    const value = log ? Number((10 ** x).toPrecision(1)) : x;
    const text = log ? value.toLocaleString("en", { notation: "compact" }) : x.toLocaleString("en");
    draw(svg, "text", { x: X(x), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, text);
  }
  draw(svg, "text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, xLabel);
  draw(svg, "text", { x: LEFT + 3, y: TOP + 4 }, "%");
  return { svg, place: ([x, y]) => [X(x), Y(y)] };
}

function nothing(parent, text) {
  parent.append(make("p", { class: "hint" }, text));
}

function curves(id, column, xLabel) {
  const parent = $(id);
  parent.replaceChildren();
  const runs = chosen().filter((run) => run.curve.length);
  if (!runs.length) return nothing(parent, "Tick a run below that has finished an epoch.");
  const path = (run) => run.curve.map((row) => [row[column], row[2]]);
  const { svg, place } = axes(parent, runs.flatMap(path), { xLabel, fromZero: true });
  svg.setAttribute("aria-label", `Accuracy by ${xLabel} of ${runs.map((run) => run.run).join(", ")}`);
  const spots = [];
  for (const run of runs) {
    const style = look(chosen().indexOf(run));
    const points = path(run).map(place);
    const corners = points.map((point) => point.map((at) => at.toFixed(1)).join(",")).join(" ");
    draw(svg, "polyline", { class: "curve", "data-run": run.run, points: corners, ...style });
    const [x, y] = points.at(-1);
    const fill = run.drawn ? "var(--paper)" : style.stroke;
    draw(svg, "circle", { cx: x, cy: y, r: 3.5, fill, stroke: style.stroke });
    points.forEach((point, i) => {
      const [epoch, seconds, accuracy] = run.curve[i];
      spots.push({ point, run: run.run, says: `epoch ${epoch}, ${number(seconds)} s: ${percent(accuracy)}` });
    });
  }
  hover(svg, spots);
}

function marker(parent, shape, x, y, size, attributes) {
  const wide = size * 1.2, tall = size * 1.4;
  const kinds = [
    ["circle", { cx: x, cy: y, r: size }],
    ["rect", { x: x - size, y: y - size, width: 2 * size, height: 2 * size }],
    ["path", { d: `M${x} ${y - tall}L${x + wide} ${y + size}H${x - wide}Z` }],
    ["path", { d: `M${x} ${y - tall}L${x + tall} ${y}L${x} ${y + tall}L${x - tall} ${y}Z` }],
  ];
  const [tag, place] = kinds[shape % kinds.length];
  return draw(parent, tag, { ...place, ...attributes });
}

function scatter() {
  const parent = $("by-parameters");
  parent.replaceChildren();
  const runs = listed.filter((run) => run.parameters > 0 && typeof run.error_rate === "number");
  if (!runs.length) return nothing(parent, "No run listed has finished an epoch.");
  const at = (run) => [Math.log10(run.parameters), 1 - run.error_rate];
  const xLabel = "parameters (hollow: drawn images)";
  const { svg, place } = axes(parent, runs.map(at), { xLabel, log: true });
  svg.setAttribute("aria-label", `Accuracy by parameters of ${runs.length} runs`);
  const systems = [...new Set(DATA.runs.map((run) => run.system))];
  const picked = new Set(chosen());
  const spots = runs.map((run) => {
    const [x, y] = place(at(run));
    const i = systems.indexOf(run.system), colour = `var(--c${i % 7})`;
    const fill = run.drawn ? "var(--paper)" : colour, stroke = picked.has(run) ? "var(--ink)" : colour;
    marker(svg, i, x, y, picked.has(run) ? 5.5 : 3.5, { fill, stroke, "stroke-width": 1.5, "data-run": run.run });
    const accuracy = `${run.test_acc === null ? "watched" : "test"} accuracy ${percent(1 - run.error_rate)}`;
    return { point: [x, y], run: run.run, says: `${accuracy}, ${run.parameters.toLocaleString("en")} parameters` };
  });
  hover(svg, spots);
  const here = systems.filter((system) => runs.some((run) => run.system === system));
  parent.append(make("ul", { class: "legend" }, ...here.map((system) => {
    const item = make("li"), i = systems.indexOf(system), colour = `var(--c${i % 7})`;
    marker(draw(item, "svg", { viewBox: "0 0 12 12", class: "sign" }), i, 6, 6, 4, { fill: colour });
    item.append(make("span", {}, system ?? "unknown"));
    return item;
  })));
}

function hover(svg, spots) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) * WIDTH / box.width, (event.clientY - box.top) * WIDTH / box.width];
    let best = null, least = 28 ** 2;
    for (const spot of spots) {
      const distance = (spot.point[0] - x) ** 2 + (spot.point[1] - y) ** 2;
      if (distance < least) [best, least] = [spot, distance];
    }
    tip(best && `${best.run}\n${best.says}\n${byName.get(best.run).data}`, event);
    highlight(best && best.run);
  });
  svg.addEventListener("pointerleave", () => { tip(null); highlight(null); });
}

function tip(text, event) {
  const box = $("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8)}px`;
}

function highlight(name) {
  for (const element of document.querySelectorAll(".on")) element.classList.remove("on");
  if (name === null) return;
  lines.get(name).classList.add("on");
  for (const curve of document.querySelectorAll("polyline.curve")) {
    if (curve.dataset.run === name) curve.classList.add("on");
  }
}

function legend() {
  $("legend").replaceChildren(...chosen().map((run, i) => {
    const item = make("li", { "data-run": run.run });
    const svg = draw(item, "svg", { viewBox: "0 0 34 10", "aria-hidden": "true" });
    draw(svg, "line", { x1: 0, x2: 34, y1: 5, y2: 5, "stroke-width": 2.5, ...look(i) });
    const watched = run.watched === "val" ? "validation" : run.watched;
    const end = run.curve.length ? `${percent(run.curve.at(-1)[2])} ${watched}` : "no epoch yet";
    item.append(make("span", {}, `${run.run}: ${end}${run.drawn ? ` (${run.data})` : ""}`));
    item.addEventListener("pointerenter", () => highlight(run.run));
    item.addEventListener("pointerleave", () => highlight(null));
    return item;
  }));
}

// One change at a time
function makeBases() {
  const bases = DATA.groups.filter((group) => group.changes.length);
  bases.sort((a, b) => b.changes.length - a.changes.length);
  $("base").replaceChildren(...bases.map((group) => make("option", { value: group.runs[0] }, group.name)));
  $("base").disabled = !bases.length;
  $("base").addEventListener("change", () => change({ base: $("base").value }));
}

function showChanges() {
  const parent = $("changes");
  parent.replaceChildren();
  const name = view.base ?? $("base").value;
  const base = DATA.groups.find((group) => group.runs.includes(name) && group.changes.length);
  if (!base) return nothing(parent, "No two runs differ in exactly one setting yet.");
  $("base").value = base.runs[0];
  const others = base.changes.map(([j, label, before]) => [DATA.groups[j], `${label} (base: ${before})`]);
  const bars = [[base, "the base"], ...others].map(([group, label]) => ({ group, label }));
  const width = Math.max(300, Math.min(parent.clientWidth || 760, 760)), step = 38, right = 150;
  const end = (group) => Math.max(...group.each, group.mean + (group.std || 0));
  const high = Math.max(...bars.map(({ group }) => end(group)));
  const X = (value) => value / high * (width - right);
  const svg = draw(parent, "svg", { viewBox: `0 0 ${width} ${bars.length * step + 6}`, role: "img" });
  svg.style.maxWidth = `${width}px`;
  svg.setAttribute("aria-label", bars.map(({ group, label }) => `${label}: ${percent(group.mean)}`).join("; "));
  bars.forEach(({ group, label }, i) => {
    const y = i * step + 14, mid = y + 11, low = X(Math.max(0, group.mean - group.std));
    const spread = group.std === null ? "" : ` ± ${(100 * group.std).toFixed(2)}`;
    draw(svg, "text", { x: 0, y: y - 2, class: "name" }, label);
    draw(svg, "rect", { x: 0, y: y + 3, width: X(group.mean), height: 16, class: i ? "bar" : "bar own" });
    if (spread) draw(svg, "line", { class: "spread", x1: low, x2: X(group.mean + group.std), y1: mid, y2: mid });
    for (const value of group.each) draw(svg, "circle", { class: "dot", cx: X(value), cy: mid, r: 2.5 });
    const seeds = group.each.length > 1 ? `, ${group.each.length} seeds` : "";
    const text = `${percent(group.mean)}${spread}${seeds}`;
    draw(svg, "text", { x: X(end(group)) + 8, y: mid + 4, class: "name" }, text);
  });
  draw(svg, "line", { class: "base", x1: X(base.mean), x2: X(base.mean), y1: 12, y2: bars.length * step });
  nothing(parent, `${base.kind} accuracy, ${base.images}`);
}
