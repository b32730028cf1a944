// Sorts and filters the table of runs, and shows the curves of the ticked ones.
const $ = (id) => document.getElementById(id);
const FIRST = 6; // so many curves are shown before anybody ticks a run
const COLOURS = 7;
const table = $("runs");
const headings = [...table.tHead.rows[0].cells];
const keys = headings.map((heading) => heading.dataset.key);
const rows = [...table.tBodies[0].rows];
const allCurves = [...document.querySelectorAll(".curve")];
const curvesOf = new Map();
for (const curve of allCurves) curvesOf.set(curve.dataset.curve, [...(curvesOf.get(curve.dataset.curve) || []), curve]);
const curves = (row) => curvesOf.get(row.dataset.curve) || [];
const listed = () => rows.filter((row) => !row.hidden);
let ticked = rows.filter((row) => curves(row).length).slice(0, FIRST);
let sorted = { key: "created", desc: true };

function value(row, key) {
  const cell = row.cells[keys.indexOf(key)];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

function order(a, b) {
  const [x, y] = [value(a, sorted.key), value(b, sorted.key)];
  if (x === "" || y === "") return (x === "") - (y === ""); // unknown values come last in either direction
  const sign = sorted.desc ? -1 : 1;
  if (typeof x === "number" && typeof y === "number") return sign * (x - y);
  return sign * String(x).localeCompare(String(y), "en", { numeric: true });
}

function showTable() {
  const words = $("filter").value.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  table.tBodies[0].replaceChildren(...[...rows].sort(order));
  for (const heading of headings) {
    const isSorted = heading.dataset.key === sorted.key;
    heading.ariaSort = isSorted ? (sorted.desc ? "descending" : "ascending") : null;
    heading.querySelector("span").textContent = isSorted ? (sorted.desc ? " ▼" : " ▲") : "";
  }
  $("count").textContent = `${listed().length} of ${rows.length} runs`;
}

function showCurves(chosen) {
  ticked = chosen;
  for (const curve of allCurves) curve.setAttribute("class", "curve");
  for (const row of rows) row.querySelector("input").checked = ticked.includes(row);
  $("legend").replaceChildren(...ticked.map((row, i) => {
    for (const curve of curves(row)) curve.setAttribute("class", `curve shown k${i % COLOURS}`);
    const item = make("li", { className: `k${i % COLOURS}` }, $("swatch").content.cloneNode(true), row.dataset.legend);
    item.dataset.run = row.dataset.run;
    return item;
  }));
  const columns = keys.filter((key, i) => headings[i].hasAttribute("data-setting")
    && new Set(ticked.map((row) => value(row, key))).size > 1);
  $("differ").textContent = columns.length ? `The ticked runs differ in: ${columns.join(", ")}.` : "";
}

// What can be clicked; texts from runs are only ever set as text, never as HTML
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

for (const [i, heading] of headings.entries()) {
  const isNumber = rows.some((row) => "value" in row.cells[i].dataset);
  for (const cell of [heading, ...rows.map((row) => row.cells[i])]) cell.classList.toggle("number", isNumber);
  const button = make("button", { type: "button" }, heading.textContent, make("span", {}));
  button.addEventListener("click", () => {
    const key = heading.dataset.key;
    sorted = { key, desc: key === sorted.key ? !sorted.desc : isNumber };
    showTable();
  });
  heading.replaceChildren(button);
}
for (const row of rows) {
  const name = row.dataset.run;
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    const others = ticked.filter((one) => one !== row);
    showCurves(box.checked ? [...others, row] : others);
  });
  row.cells[0].replaceChildren(make("label", {}, box, make("span", { title: name }, row.cells[0].textContent)));
  if ("report" in row.dataset) {
    row.cells[0].append(" ", make("a", { href: `./${encodeURIComponent(name)}/report.html` }, "report"));
  }
  row.addEventListener("pointerenter", () => curves(row).forEach((curve) => curve.classList.add("on")));
  row.addEventListener("pointerleave", () => curves(row).forEach((curve) => curve.classList.remove("on")));
}
$("filter").addEventListener("input", showTable);
$("all").addEventListener("click", () => showCurves(listed()));
$("none").addEventListener("click", () => showCurves([]));
showTable();
showCurves(ticked);
document.documentElement.dataset.ready = "yes";
